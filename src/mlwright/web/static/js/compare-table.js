import { legend } from "./legend.js";

legend(() => {});
