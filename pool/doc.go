// Package pool hands out a bounded set of workers, one caller at a time, with session
// affinity. Workers may be anything; the case it exists for is OS processes that hold
// state in memory, which package process makes.
//
//	p, err := pool.New(pool.Config[*Conn]{Start: dial, Stop: hangUp, MaxSize: 8})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
//	lease, err := p.AcquireSession(ctx, "user-42")
//	if err != nil {
//		return err // the sentinel says what to do: see the variables
//	}
//	defer lease.Release()
//	return lease.Worker().Work(ctx)
//
// # Words
//
// A worker is one incarnation; its WorkerID is never used again. A lease is the
// exclusive right to one worker. A session is an affinity key, a binding ties it to a
// worker. A waiter is a parked acquire: bound if its session has a binding, else
// unbound. A worker is live while it is starting, idle, checking, leased or stopping.
//
// # Promises
//
// Every method may be called by any goroutine at any time, a hook included, except that
// a hook which waits for its own worker waits for ever. docs/semantics.md fixes what
// these rules leave open.
//
//   - I1: a worker has at most one lease.
//   - I2: live workers never exceed MaxSize; after a shrink no start begins while they do.
//   - I3: every started worker is stopped exactly once, and never granted after.
//   - I4: every acquire gets exactly one outcome.
//   - I5: at rest no waiter is parked while a worker that it may use is idle; starts begin
//     exactly when waiters or MinSize want them and the limits allow it.
//   - I6: cancellation loses nothing: a grant that races a cancel goes to the next waiter or
//     back to idle; a context already done takes nothing; no caller cancels a start.
//   - I7: first come, first served among those who may use the worker; tries neither barge
//     nor start workers; refusals take precedence in a fixed order.
//   - I8: affinity is to an incarnation: Strict, Sticky, Prefer. Fresh is true exactly when
//     the grant made the binding. A binding that was overwritten in memory is noticed, and
//     counts as the loss of its worker.
//   - I9: a binding is a function of history and clock, not of when a sweeper ran.
//   - I10: start failures fail fast, back off, probe, and heal.
//   - I11: a panic or an error in a hook affects its worker alone.
//   - I12: health checks hold at most a quarter of the idle workers and yield to callers.
//   - I13: shutdown is bounded in every state, idempotent, and leaves nothing behind.
//   - I14: a second release, or use after release, panics; counts stay right.
//   - I15: Stat is a consistent snapshot; events carry the number of the state change.
//   - I16: Resize acts at once on idle workers, at release on leased ones; Retire settles
//     the bound waiters of a dead worker at once.
//   - I17: recycling spares sessions: a worker past its limits takes no new work and, under
//     Strict, serves its sessions until the last one ends.
//   - I18: sessions spread: a new binding on an already bound worker begins another start.
package pool
