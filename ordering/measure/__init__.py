"""How this shop does for its customers, counted here and told to whoever collects it.

`middleware` counts what servers know, and passes on what `static/ordering/agent.js` saw in browsers; `tally` holds it;
`sending` takes it to the collector every few seconds. Without a collector's address and token nothing is counted and
no page carries an agent. No visitor is told from another, and nothing of one is kept.
"""
