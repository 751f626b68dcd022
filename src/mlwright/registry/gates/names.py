"""Names of metrics, as MLflow and scikit-learn call them. Apart, because policies are read without NumPy."""

#: The area under the ROC curve: no function of sums, see statistics.py.
ROC_AUC = "roc_auc"

METRIC_NAMES = frozenset(
    {
        ROC_AUC,
        "accuracy_score",
        "balanced_accuracy_score",
        "brier_score_loss",
        "expected_calibration_error",
        "f1_score",
        "false_positive_rate",
        "log_loss",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "precision_score",
        "r2_score",
        "recall_score",
        "root_mean_squared_error",
        "selection_rate",
    }
)
