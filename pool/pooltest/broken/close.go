package broken

import (
	"context"
	"errors"
	"slices"

	"github.com/poolproof/poolproof/pool"
)

// Close closes the pool and waits for the leases, then for the hooks, for the latter
// no longer than StopTimeout. See Shutdown.
func (p *Pool[T]) Close() error { return p.Shutdown(context.Background()) }

// Shutdown closes the pool: from now on every acquire fails with pool.ErrClosed. It
// waits until no worker is left, or StopTimeout after the last lease. If ctx ends while
// leases are out, it revokes them. It returns nil if no lease was revoked and no hook
// is running, otherwise a *pool.ShutdownError joined with the cause of ctx: all that wait
// as closing ends return the same, and whoever calls later how things stand then.
func (p *Pool[T]) Shutdown(ctx context.Context) error {
	var report *pool.ShutdownError
	late := false
	p.update(func() {
		if late = p.finished; late {
			report = p.report()
		}
		p.close()
	})
	select {
	case <-p.done:
	case <-ctx.Done():
		p.update(p.revoke)
		<-p.done
	}
	if !late {
		p.look(func() { report = p.outcome })
	}
	switch {
	case report == nil:
		return nil
	case ctx.Err() != nil:
		return errors.Join(report, context.Cause(ctx))
	}
	return report
}

// report describes what is not in good order, nil if all is.
func (p *Pool[T]) report() *pool.ShutdownError {
	report := &pool.ShutdownError{Revoked: slices.Sorted(slices.Values(p.revoked))}
	for _, w := range p.workers {
		if w.hook != "" {
			report.Running = append(report.Running, pool.Hook{Name: w.hook, ID: w.id})
		}
	}
	if len(report.Revoked) == 0 && len(report.Running) == 0 {
		return nil
	}
	return report
}

// close is the first moment of closing.
func (p *Pool[T]) close() {
	if p.closing {
		return
	}
	p.closing = true
	for _, q := range slices.Clone(p.waiters) {
		if p.fault != CloseStrandsWaiters {
			p.answer(q, nil, pool.ErrClosed)
		}
	}
	p.table = nil
	p.delay = 0
	for _, w := range slices.Clone(p.workers) {
		if w.phase == leased || w.phase == starting && p.fault == CloseWaitsForStart {
			continue
		}
		p.stop(w, nil)
	}
}

// revoke ends the leases under their holders.
func (p *Pool[T]) revoke() {
	for _, w := range slices.Clone(p.workers) {
		if w.phase != leased || p.fault == ShutdownRevokesNothing {
			continue
		}
		w.lease.revoked = true
		w.lease = nil
		p.revoked = append(p.revoked, w.id)
		p.stop(w, errRevoked)
	}
}

// finish lets Close and Shutdown return once closing is over.
func (p *Pool[T]) finish() {
	if !p.closing || p.finished {
		return
	}
	if p.count(leased) == 0 && p.unleased.IsZero() {
		p.unleased = p.now
	}
	late := !p.unleased.IsZero() && p.reached(p.unleased.Add(p.cfg.StopTimeout))
	live := len(p.workers)
	if p.fault == CloseBeforeStops {
		live = p.present()
	}
	switch {
	case live > 0 && !late:
	case p.fault == DoneClosedTwice:
		p.emptied = true
	default:
		p.finished, p.outcome = true, p.report()
		close(p.done)
	}
}
