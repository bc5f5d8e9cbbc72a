// Package faults harms a pool of workers on purpose, under load, and shows that it
// recovers.
//
// A System is a pool with its workers, on one of three layers: fakes in memory, workers
// that speak the protocol over a pipe, real processes. A Plan says which faults hit whom
// and when; each is made by an Injector, and counts only once its Injury has landed, which
// is seen on the thing itself. Run executes a plan while calls come in at their intended
// times, heals, and verifies the recovery. Its Report fails if a fault did not land, if
// there was too little traffic, if a call was not answered exactly once or wrongly, if the
// history breaks a rule (I1 to I18, see package pool) or could not be judged, if capacity
// did not come back in full from workers that had said hello, or if anything is left when
// the pool is closed.
//
// An injector of one's own is a function:
//
//	kit := faults.Standard()
//	kit["drop-cache"] = faults.InjectorFunc(func(ctx context.Context, v *faults.Victim) (*faults.Injury, error) {
//		v.Within(func(ctx context.Context, w faults.Worker) error { return w.Call(ctx, "drop", nil, nil) })
//		return &faults.Injury{Landed: cacheIsEmpty}, nil
//	})
package faults
