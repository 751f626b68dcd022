// The part of ECharts that our pages use, bundled by hatch_build.py into vendor/echarts.min.js (global name: echarts).
import { use } from "echarts/core";
import { CustomChart, HeatmapChart, ParallelChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendComponent, ParallelComponent, TooltipComponent, VisualMapComponent } from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

use([
  CanvasRenderer,
  CustomChart,
  GridComponent,
  HeatmapChart,
  LegendComponent,
  ParallelChart,
  ParallelComponent,
  ScatterChart,
  TooltipComponent,
  VisualMapComponent,
]);

export { connect, disconnect, getInstanceByDom, graphic, init, registerTheme } from "echarts/core";
