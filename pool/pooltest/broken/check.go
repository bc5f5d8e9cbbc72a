package broken

import (
	"context"
	"slices"

	"github.com/poolproof/poolproof/pool"
)

// demand cancels the checks that waiters need and returns how many waiters no
// cancelled check will serve (D).
func (p *Pool[T]) demand() (d int) {
	claimed := map[*worker[T]]bool{}
	seen := map[*session[T]]bool{}
	for _, q := range p.waiters {
		s := q.session
		counted := s == nil || s.worker == nil && !s.lost && !seen[s] || s.worker != nil && p.cfg.Affinity == pool.Prefer
		bound := s != nil && s.worker != nil
		if s != nil {
			seen[s] = true
		}
		if !counted && !bound {
			continue
		}
		w := p.claim(s, claimed)
		switch {
		case w != nil:
			claimed[w] = true
			if !w.cancelled && p.fault != CheckHoldsWorker {
				w.cancelled = true
				w.cancel(errNeeded)
			}
		case counted:
			d++
		}
	}
	return d
}

// claim returns the checking worker whose check a waiter of s cancels, or nil. Among
// equals it prefers one whose check is cancelled already.
func (p *Pool[T]) claim(s *session[T], claimed map[*worker[T]]bool) (best *worker[T]) {
	for _, w := range p.workers {
		if w.phase != checking || w.telling || claimed[w] || !p.mayUse(s, w) {
			continue
		}
		if s != nil && s.worker == w {
			return w
		}
		if best == nil || p.bindings(w) < p.bindings(best) || p.bindings(w) == p.bindings(best) && w.cancelled && !best.cancelled {
			best = w
		}
	}
	return best
}

// skipCheck lets a moment at which w was due pass without a check.
func (p *Pool[T]) skipCheck(w *worker[T]) {
	for !w.due.IsZero() && p.reached(w.due) {
		w.due = w.due.Add(p.cfg.HealthCheckPeriod)
	}
}

// checkDue checks idle workers that are due, a quarter of the idle ones at a time.
func (p *Pool[T]) checkDue() {
	for {
		resting, running := p.count(idle), 0
		var next *worker[T]
		for _, w := range p.workers {
			switch {
			case w.phase == checking && w.telling:
				resting++
			case w.phase == checking:
				running++
			case w.phase == idle && !w.due.IsZero() && p.reached(w.due) && (next == nil || w.due.Before(next.due)):
				next = w
			}
		}
		quota := (resting + running + 3) / 4
		if p.fault == ChecksOverQuota {
			quota = resting + running
		}
		if next == nil || running >= quota {
			return
		}
		p.check(next)
	}
}

func (p *Pool[T]) check(w *worker[T]) {
	w.phase, w.cancelled = checking, false
	p.call(w, "Check", p.cfg.HealthCheckTimeout, func(ctx context.Context) error {
		return p.cfg.Check(ctx, w.value)
	}, func(err error) {
		w.due = p.now.Add(p.cfg.HealthCheckPeriod)
		ignored := err != nil && w.cancelled && p.fault != CancelledCheckCounts
		p.checked(w, err, ignored)
	})
}

// checked settles a check or a tell of w. A success of either resets the failures.
func (p *Pool[T]) checked(w *worker[T], err error, ignored bool) {
	switch {
	case w.phase == stopping:
		p.runStop(w)
		return
	case err != nil && !ignored:
		w.failures++
	case err == nil && p.fault != FailuresNeverReset:
		w.failures = 0
	}
	if err != nil && !ignored && w.failures >= p.cfg.HealthCheckFailures {
		p.stop(w, &pool.WorkerError{ID: w.id, Err: err})
		if p.fault == ReplacementOverMax && !p.closing {
			p.begin()
		}
		return
	}
	w.phase, w.telling = idle, false
}

// tellIdle tells idle workers which of their sessions are over, one at a time: between
// two of them the other rules for a worker that becomes available apply.
func (p *Pool[T]) tellIdle() {
	for _, w := range slices.Clone(p.workers) {
		if w.phase != idle || len(w.debts) == 0 {
			continue
		}
		id := w.debts[0]
		w.phase, w.telling, w.debts = checking, true, w.debts[1:]
		w.began = p.now
		p.call(w, "SessionEnded", p.cfg.HealthCheckTimeout, func(ctx context.Context) error {
			return p.cfg.SessionEnded(ctx, w.value, id)
		}, func(err error) { p.checked(w, err, false) })
	}
}
