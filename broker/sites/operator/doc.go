// Package operator is what an operator of two sites may ask and order: the documents of operator requests (docs/formats.md section 13), and
// the decisions behind them, as pure functions over Facts: whether all is well, whether a switchover or a failover may begin and what it may
// cost, and the report of what it has cost.
//
// Serve carries a request out on a DR. A broker answers its own clients with it, and the brokers of the other site: what is for the other site
// (Facts are those of one site, archives lie on the disk of the site that lost records) is forwarded as it came.
//
// Orders that take long are started by one request and asked after by others (Progress), so that a connection that breaks leaves nobody in the
// dark: the order goes on, and whoever asks next is told.
package operator
