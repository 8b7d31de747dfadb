"""How a page looks: by light and by dark, on paper, with charts that take their colours from here."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fcfcfa;--card:#fff;--ink:#1d2025;--soft:#5a616c;--line:#dfe2e6;--track:#eceef1;
--kept:#2c6fbb;--rejected:#c8702a;--bad:#b3261e;--good:#1f7a44;--warn:#8a5a00;--focus:#0b57d0}
@media (prefers-color-scheme:dark){:root{--paper:#15171a;--card:#1d2024;--ink:#e7e9ec;--soft:#a4abb6;--line:#343940;
--track:#2a2e34;--kept:#6ea8e8;--rejected:#e29a5c;--bad:#f2998f;--good:#7fce9b;--warn:#e6b566;--focus:#a8c7fa}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;-webkit-text-size-adjust:100%}
body>header,main{max-width:1120px;margin:0 auto;padding:0 24px}
body>header{padding-top:36px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px;overflow-wrap:anywhere;font-weight:650}
h2{font-size:1.2rem;margin:0 0 14px;font-weight:650}
h3{font-size:1rem;margin:26px 0 10px;font-weight:650;overflow-wrap:anywhere}
p{margin:0 0 12px;max-width:75ch}
.soft{color:var(--soft)}.bad{color:var(--bad)}.good{color:var(--good)}.warn{color:var(--warn)}
section{border-top:1px solid var(--line);padding:26px 0 20px}
main>section:first-child{margin-top:22px}
a{color:var(--focus)}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-999px}.skip:focus{left:12px;top:8px;background:var(--card);padding:6px 10px;z-index:1}
nav ul{display:flex;flex-wrap:wrap;gap:6px 18px;list-style:none;margin:18px 0 0;padding:0}
.figures{display:flex;flex-wrap:wrap;gap:12px 40px;margin:20px 0 0}
.figures div{display:flex;flex-direction:column-reverse}
.figures dt{color:var(--soft);font-size:.85rem}.figures dd{margin:0;font-size:1.5rem;font-weight:650;line-height:1.25;
font-variant-numeric:tabular-nums}
.scrolls{overflow-x:auto;margin:0 0 16px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:min(100%,420px)}
caption{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden;white-space:nowrap}
th,td{text-align:left;padding:4px 18px 4px 0;vertical-align:baseline;border-bottom:1px solid var(--line)}
th{font-weight:600;font-size:.85rem;color:var(--soft);white-space:nowrap}
td{overflow-wrap:break-word}
@media (min-width:760px){td .name{white-space:nowrap}}
.number{text-align:right;white-space:nowrap}
tr.stage td{font-weight:600}tr.reason td:first-child{padding-left:20px}tr.total td{font-weight:650;border-bottom:0}
.funnel{width:100%}.bar{width:46%;min-width:140px}
.bar span{display:block;height:11px;background:var(--track);border-radius:2px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--rejected);min-width:1px}.bar i.kept{background:var(--kept)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:26px 30px;margin:0 0 18px}
figure{margin:0;min-width:0}
figcaption{font-size:.85rem;color:var(--soft);overflow-wrap:anywhere}
.chart figcaption b{display:block;font-size:.95rem;color:var(--ink);font-weight:600}
.chart svg{display:block;width:100%;height:auto;margin-top:4px;overflow:visible}
.chart .background{fill:none}
.chart text{font-size:11px;fill:var(--soft);font-family:inherit}
.chart .axis.x text{text-anchor:middle}.chart .axis.y text{text-anchor:end}
.chart .guide.line{fill:none;stroke:var(--line);stroke-width:1}
.chart .axis .axis.line{stroke:var(--soft);stroke-width:1;fill:none}
.chart .vertical .axis.x>.line,.chart .vertical .axis.x .guide.line,.chart .horizontal .axis.y .line{display:none}
.chart .rect{stroke:var(--paper);stroke-width:.6}
.chart .kept .rect{fill:var(--kept)}.chart .rejected .rect{fill:var(--rejected)}
.chart g:hover>.rect{opacity:.75}
.legend{display:flex;gap:18px;list-style:none;padding:0;margin:0 0 14px;font-size:.85rem;color:var(--soft)}
.legend li::before{content:"";display:inline-block;width:11px;height:11px;margin-right:6px;border-radius:2px;
background:var(--kept);vertical-align:-1px}
.legend li.rejected::before{background:var(--rejected)}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(168px,1fr));gap:22px 18px;padding:0;margin:0;
list-style:none}
.sheet .pictures{display:flex;gap:4px;height:150px;background:var(--track);border-radius:4px;overflow:hidden}
.sheet .pictures>*{flex:1;min-width:0;height:100%;object-fit:contain}
.sheet .none{display:flex;align-items:center;justify-content:center;text-align:center;padding:10px;font-size:.8rem;
color:var(--soft)}
.sheet.wordy{gap:16px 24px;grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr))}
.sheet.wordy .words{margin-top:0;font-size:.9rem}
.sheet .veiled{filter:blur(18px)}.sheet figure:hover .veiled,.sheet figure:focus-within .veiled{filter:none}
.sheet .words{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:4;overflow:hidden;color:var(--ink);
margin:6px 0 2px}
.sheet .words.absent{color:var(--soft);font-style:italic}
.sheet li{min-width:0;overflow-wrap:anywhere}
.sheet small{display:block;color:var(--soft);font-size:.76rem;line-height:1.4}
ul.told{margin:0 0 14px;padding-left:20px}ul.told li{overflow-wrap:anywhere;margin-bottom:3px}
details{margin:0 0 14px}summary{cursor:pointer;color:var(--soft)}
details pre{background:var(--track);padding:14px;border-radius:4px;overflow-x:auto;font-size:.82rem;line-height:1.45}
@media print{body{background:#fff;color:#000}nav,.skip{display:none}figure,tr{break-inside:avoid}.bar i,.chart svg,
.legend li::before{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
