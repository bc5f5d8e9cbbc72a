// Package otelpool observes a pool with OpenTelemetry: metrics of its workers, acquires
// and sessions, and spans around acquire and call.
//
//	tel, err := otelpool.New(otelpool.Config{Name: "embedder"})
//	...
//	made, err := pool.New(pool.Config[*Conn]{Start: dial, Observer: tel.Observer(nil)})
//	...
//	p, err := otelpool.Wrap(tel, made)
//	...
//	defer p.Close()
//	err = p.Do(ctx, "user-42", work)
//
// # Metrics
//
// Each has the attribute poolproof.pool.name, and what else the table says. No attribute
// takes more values than are listed here.
//
//	poolproof.worker.count            up-down counter  poolproof.worker.state: starting, idle, checking, leased, stopping
//	poolproof.worker.min, .max        up-down counter
//	poolproof.worker.starts           counter          poolproof.start.outcome: started, failed
//	poolproof.worker.create_time      histogram, s     poolproof.start.outcome
//	poolproof.worker.stops            counter          poolproof.stop.cause: planned, discarded, unhealthy, revoked, retired
//	poolproof.worker.use_time         histogram, s     from grant to end of a lease
//	poolproof.acquire.pending         up-down counter  parked acquires
//	poolproof.acquire.outcomes        counter          poolproof.acquire.outcome: granted, cancelled, closed, saturated,
//	                                                   timed_out, not_available, session_lost, session_limit, start_failed
//	poolproof.acquire.timeouts        counter          those that timed out
//	poolproof.acquire.wait_time       histogram, s     poolproof.acquire.outcome; of acquires through Pool
//	poolproof.session.count           up-down counter  poolproof.session.state: unbound, bound, lost
//	poolproof.session.losses          counter
//
// The up-down counters are read from Stat at each collection. All else comes from the
// pool's events, whoever uses it, but for wait_time, which only Pool can tell. An acquire
// whose context had ended before is no event; one whose grant came too late for its
// caller is granted there, and cancelled in wait_time and in its span. A worker that is
// replaced shows as a stop whose cause is not planned, or a start that failed, and a start.
// A pool that is observed has no short cuts, so its acquires and releases cost some more.
//
// The times that come from events end when the Observer is told, which may be a little
// late, and under concurrency two leases of one worker may swap parts of their times; their
// sum is right.
//
// # Spans
//
// Pool makes poolproof.acquire around each acquire that may wait, and poolproof.call around
// the function of Do, whose context carries it. Attributes: poolproof.pool.name,
// poolproof.session.present, poolproof.acquire.outcome; of a lease poolproof.worker.id,
// poolproof.lease.token, poolproof.lease.fresh. An error is recorded and makes the span's
// status an error. The session's name may be a person's: it is left out unless
// Config.SessionIDs is set.
package otelpool
