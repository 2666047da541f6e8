"""The page's look: one column, two colours with a meaning (melanoma, benign), the rest is type; light, dark, print.

The colours of charts are variables of the page, so that one picture serves a dark screen and paper.
"""

LIGHT = """
  --paper: #fff; --ink: #1d2733; --muted: #5c6773; --rule: #d9dee4; --wash: #f5f7f9; --grid: #eceff2;
  --melanoma: #b4472b; --benign: #3a6a94; --s0: #1f6f78; --s1: #a87415; --s2: #7d5ba6; --s3: #4d7d48; --s4: #a3527f;
  --s5: #4f5b66; --s6: #9a6b4b; --s7: #2f7fae; color-scheme: light;
"""
DARK = """
  --paper: #12181e; --ink: #e4e9ee; --muted: #9ca8b4; --rule: #35404b; --wash: #1b232b; --grid: #232c35;
  --melanoma: #e58a6e; --benign: #86b5dc; --s0: #58b8c2; --s1: #dbab55; --s2: #b79ade; --s3: #8dc087; --s4: #dd94ba;
  --s5: #a9b6c2; --s6: #cfa282; --s7: #77bde6; color-scheme: dark;
"""

CSS = (
    f"""
:root {{{LIGHT}}}
@media screen and (prefers-color-scheme: dark) {{ :root {{{DARK}}} }}
"""
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1, h2, h3, p, figure, dl, ul { margin: 0; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; letter-spacing: -0.005em; margin-bottom: 0.35rem; }
h3 { font-size: 0.95rem; line-height: 1.4; }
.kicker { color: var(--muted); font-size: 0.8rem; letter-spacing: 0.08em; text-transform: uppercase; }
p, li, figcaption { text-wrap: pretty; }
.lead { color: var(--muted); max-width: 44rem; }
section { border-top: 1px solid var(--rule); margin-top: 2.5rem; padding-top: 1.6rem; }
.headline { display: flex; flex-wrap: wrap; gap: 0.5rem 2.5rem; align-items: flex-end; margin: 1.6rem 0 1rem; }
.headline .label { font-size: 0.95rem; font-weight: 600; }
.headline .value { font-size: 4.2rem; line-height: 1; font-weight: 650; letter-spacing: -0.035em;
  font-variant-numeric: tabular-nums; }
.headline .none { font-size: 2.2rem; line-height: 1.1; font-weight: 650; letter-spacing: -0.02em; }
.headline dl { border-left: 1px solid var(--rule); padding-left: 1.4rem; margin-bottom: 0.3rem;
  display: grid; grid-template-columns: auto auto; gap: 0.1rem 0.9rem; font-size: 0.95rem; }
.headline dt { color: var(--muted); }
.headline dd { margin: 0; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem 2rem; margin-top: 1.1rem; }
.scope { background: var(--wash); border-radius: 6px; padding: 1.2rem 1.4rem; margin-top: 1.8rem; font-size: 0.93rem; }
.scope ul { padding-left: 1.1rem; margin-top: 0.3rem; }
figure { min-width: 0; }
figure h3 { margin-bottom: 0.3rem; }
.chart { display: block; width: 100%; height: auto; font-size: 11.5px; overflow: visible; }
.chart .grid { stroke: var(--grid); stroke-width: 1; }
.chart .tick, .chart .axis { fill: var(--muted); font-size: 11px; font-variant-numeric: tabular-nums; }
.line { fill: none; stroke: var(--color); stroke-width: 1.8; stroke-linejoin: round; }
.line.thin { stroke-width: 1; opacity: 0.75; }
.area { fill: var(--color); fill-opacity: 0.17; }
.dot, .name { fill: var(--color); }
.name { font-weight: 600; paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
.reference { fill: none; stroke: var(--muted); stroke-width: 1; stroke-dasharray: 4 3; }
.s0 { --color: var(--s0); } .s1 { --color: var(--s1); } .s2 { --color: var(--s2); } .s3 { --color: var(--s3); }
.s4 { --color: var(--s4); } .s5 { --color: var(--s5); } .s6 { --color: var(--s6); } .s7 { --color: var(--s7); }
.melanoma { --color: var(--melanoma); } .benign { --color: var(--benign); } .muted { --color: var(--muted); }
.mark { display: block; width: 7.5rem; height: auto; margin: 0.28em 0 0 auto; }
.mark .reference { stroke-dasharray: none; }
.scale { display: flex; justify-content: space-between; width: 7.5rem; margin-left: auto; font-weight: 400; }
figure img { display: block; width: 100%; height: auto; }
figcaption, .note { color: var(--muted); font-size: 0.87rem; line-height: 1.5; margin-top: 0.5rem; max-width: 46rem; }
.warning { border-left: 3px solid var(--melanoma); padding: 0.2rem 0 0.2rem 0.9rem; margin-top: 1rem; }
.scroll { overflow-x: auto; margin-top: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: 0.8rem; vertical-align: bottom; }
th, td { padding: 0.4rem 1.1rem 0.4rem 0; border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
td { vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
tr.total td { font-weight: 600; border-bottom: 0; }
tr.kind td { font-weight: 600; border-bottom: 0; padding-top: 0.9rem; }
td:first-child { overflow-wrap: anywhere; min-width: 4.5rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--wash); border-radius: 6px; padding: 0.9rem 1.1rem; font-size: 0.82rem; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0.9rem 0 0; }
.pictures { display: grid; grid-template-columns: repeat(6, 1fr); gap: 0.8rem; margin: 0.7rem 0 1.6rem; }
.pictures figure { min-width: 0; }
.pictures img, .pictures .absent { border-radius: 4px; aspect-ratio: 1; width: 100%; }
.pictures .absent { background: var(--wash); color: var(--muted); font-size: 0.75rem; display: grid;
  place-items: center; text-align: center; padding: 0.5rem; }
.pictures figcaption { font-size: 0.76rem; line-height: 1.35; margin-top: 0.35rem; overflow-wrap: anywhere; }
.pictures .heat { margin-top: 0.35rem; }
.pictures b { color: var(--ink); font-size: 0.92rem; font-variant-numeric: tabular-nums; }
.examples { margin-top: 1.2rem; }
.sheet { margin-top: 1rem; }
.sheet img { border-radius: 6px; }
.settings { columns: 2; column-gap: 2.5rem; margin-top: 0.6rem; font-size: 0.85rem; }
.settings div { display: flex; justify-content: space-between; gap: 1rem; border-bottom: 1px solid var(--rule);
  padding: 0.22rem 0; break-inside: avoid; }
.settings dt { color: var(--muted); }
.settings dd { margin: 0; text-align: right; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.gap { margin-top: 1.4rem; }
@media (max-width: 42rem) {
  main { padding: 1.6rem 1.1rem 3rem; }
  h1 { font-size: 1.55rem; }
  .headline .value { font-size: 3.4rem; }
  .headline dl { border-left: 0; padding-left: 0; }
  .pair { grid-template-columns: 1fr; }
  .pictures { grid-template-columns: repeat(3, 1fr); gap: 0.7rem; }
  .settings { columns: 1; }
  table { font-size: 0.82rem; }
  th { font-size: 0.74rem; }
  th, td { padding-right: 0.5rem; }
  .number { white-space: normal; }
  .mark, .scale { display: none; }
  .stack thead { display: none; }
  .stack, .stack tbody { display: block; }
  .stack tr { display: block; border-bottom: 1px solid var(--rule); padding: 0.45rem 0; }
  .stack td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: 0.08rem 0; }
  .stack td:first-child { font-weight: 600; text-align: right; }
  .stack td::before { content: attr(data-name); flex: none; color: var(--muted); font-weight: 400; }
  .stack td:empty, .stack td:not([data-name]) { display: none; }
}
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 1.4rem; padding-top: 1rem; }
  figure, tr, pre, .scope, .examples figure { break-inside: avoid; }
  h2, h3, .lead, tr.kind { break-after: avoid; }
  .scroll { overflow: visible; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
)
