"""The scripts of migrations travel in the wheel."""

from hatchling.builders.wheel import WheelBuilder

from tools.schema import ROOT


def test_the_wheel_holds_the_scripts() -> None:
    builder = WheelBuilder(str(ROOT))
    found = {str(each.distribution_path) for each in builder.recurse_included_files()}
    folder = "mlwright/app/migrations"
    assert {f"{folder}/env.py", f"{folder}/script.py.mako", f"{folder}/versions/revision_0001.py"} <= found
