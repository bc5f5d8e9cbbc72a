package props

import (
	"fmt"

	"github.com/poolproof/poolproof/model"
)

// fullLimits bounds the operations that a run without the model draws from.
type fullLimits struct {
	sessions int
	size     int // the largest MaxSize of a Resize
	closing  bool
	calm     int // ticks after which everything that waits for time is over
	strict   bool
	timeouts bool // AcquireTimeout is set
	realTime bool // no ticks
}

// possible appends the operations that the run could do now, as far as the callers and the
// gates can tell: no model is asked.
func (r *fullRun) possible(dst []model.Op, lim *fullLimits) []model.Op {
	for i := 1; i < len(r.clients); i++ {
		c := &r.clients[i]
		switch {
		case c.lease != nil:
			dst = append(dst,
				model.Op{Kind: model.OpRelease, Client: c.number},
				model.Op{Kind: model.OpReleaseUnusable, Client: c.number},
				model.Op{Kind: model.OpDiscard, Client: c.number})
		case c.parked:
			dst = append(dst, model.Op{Kind: model.OpCancel, Client: c.number})
		default:
			for s := range lim.sessions + 1 {
				dst = append(dst,
					model.Op{Kind: model.OpAcquire, Client: c.number, Session: model.Session(s)},
					model.Op{Kind: model.OpTry, Client: c.number, Session: model.Session(s)})
			}
		}
	}
	dst = r.harmless(dst, lim.sessions)
	for s := range lim.sessions {
		dst = append(dst, model.Op{Kind: model.OpEndSession, Session: model.Session(s + 1)})
	}
	for size := range lim.size {
		for least := range size + 2 {
			dst = append(dst, model.Op{Kind: model.OpResize, Min: uint8(least), Max: uint8(size + 1)})
		}
	}
	if lim.closing {
		dst = append(dst, model.Op{Kind: model.OpClose}, model.Op{Kind: model.OpForce})
	}
	if !lim.realTime {
		dst = append(dst, model.Op{Kind: model.OpTick})
	}
	return r.answers(dst)
}

// harmless appends the operations that change nothing.
func (r *fullRun) harmless(dst []model.Op, sessions int) []model.Op {
	for i := 1; i < len(r.clients); i++ {
		c := &r.clients[i]
		if c.lease != nil || c.parked {
			continue
		}
		for s := range sessions + 1 {
			dst = append(dst, model.Op{Kind: fullOpStale, Client: c.number, Session: model.Session(s)})
		}
		if c.past != nil {
			dst = append(dst, model.Op{Kind: fullOpAgain, Client: c.number})
		}
	}
	return dst
}

// answers appends what can happen to workers: ends of running hooks, and deaths.
func (r *fullRun) answers(dst []model.Op) []model.Op {
	f := r.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.books.workers {
		if a := &f.books.workers[i]; a.phase != fullGone && a.phase != fullStopping {
			dst = append(dst, model.Op{Kind: model.OpRetire, Worker: model.Worker(i + 1)})
		}
	}
	for _, g := range f.gates {
		good, bad := model.OpStopped, model.OpStopped
		switch g.kind {
		case model.EvStartBegun:
			good, bad = model.OpStarted, model.OpStartFailed
		case model.EvCheckBegun:
			good, bad = model.OpChecked, model.OpCheckFailed
		case model.EvTellBegun:
			good, bad = model.OpTold, model.OpTellFailed
		}
		dst = append(dst, model.Op{Kind: good, Worker: g.worker})
		if bad != good {
			dst = append(dst, model.Op{Kind: bad, Worker: g.worker})
		}
	}
	return dst
}

// progress heals the run, ends its load, and demands that every waiter is served, that all
// workers can then be held at once and given back, and that closing leaves nothing. note is
// told what is done.
func (r *fullRun) progress(lim *fullLimits, note func(what string)) error {
	note("heal: hooks succeed at once; every lease is released")
	r.factory.openAll()
	r.clock.rest(r)
	r.collect()
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.serve(lim); err != nil {
		return err
	}
	if !lim.closed(r) {
		if err := r.capacity(lim, note); err != nil {
			return err
		}
	}
	note("close")
	return r.finish()
}

// closed reports whether a Close or Shutdown has begun.
func (lim *fullLimits) closed(r *fullRun) bool {
	r.factory.mu.Lock()
	defer r.factory.mu.Unlock()
	return r.begun
}

// serve releases every lease as soon as it is granted until nobody waits. Sessions may fill
// all workers until they end: those who still wait when every time limit has passed must be
// served once all sessions are ended.
func (r *fullRun) serve(lim *fullLimits) error {
	for tick := 0; ; tick++ {
		if err := r.serveNow(lim); err != nil {
			return err
		}
		waiting := r.waiting()
		if waiting == 0 {
			return nil
		}
		if tick >= lim.calm {
			if err := r.endSessions(lim); err != nil {
				return err
			}
		}
		if tick > 2*lim.calm {
			return fmt.Errorf("I5: client %d still waits %d ticks after all leases were released and every hook succeeds", waiting, tick)
		}
		if err := r.do(model.Op{Kind: model.OpTick}, 0); err != nil {
			return err
		}
		if err := r.judgeRefusals(lim); err != nil {
			return err
		}
	}
}

// serveNow releases leases until there are none.
func (r *fullRun) serveNow(lim *fullLimits) error {
	for {
		held := false
		for i := range r.clients {
			held = held || r.clients[i].lease != nil
		}
		if !held {
			return nil
		}
		if err := r.letGoAll(); err != nil {
			return err
		}
		if err := r.judgeRefusals(lim); err != nil {
			return err
		}
	}
}

// waiting returns a client that waits, or 0.
func (r *fullRun) waiting() int {
	for i := range r.clients {
		if r.clients[i].parked {
			return i
		}
	}
	return 0
}

// endSessions ends every session.
func (r *fullRun) endSessions(lim *fullLimits) error {
	for s := range lim.sessions {
		if err := r.do(model.Op{Kind: model.OpEndSession, Session: model.Session(s + 1)}, 0); err != nil {
			return err
		}
		if err := r.judgeRefusals(lim); err != nil {
			return err
		}
	}
	return nil
}

// judgeRefusals looks at the last events: after healing an acquire that was parked may be
// refused only because its session is lost, its time is over, or the pool is closing.
func (r *fullRun) judgeRefusals(lim *fullLimits) error {
	for _, ev := range r.seen {
		if ev.Kind != model.EvRefused {
			continue
		}
		ok := ev.Reason == model.ReasonClosed && lim.closed(r) ||
			ev.Reason == model.ReasonLost && lim.strict ||
			ev.Reason == model.ReasonTimeout && lim.timeouts
		if !ok {
			return fmt.Errorf("I10: client %d is refused after every hook succeeds: %s", ev.Client, fullEventText(ev))
		}
	}
	return nil
}

// capacity ends all sessions, lets back-offs and limits pass, and holds every worker at once.
func (r *fullRun) capacity(lim *fullLimits, note func(what string)) error {
	if err := r.endSessions(lim); err != nil {
		return err
	}
	for range lim.calm {
		if err := r.do(model.Op{Kind: model.OpTick}, 0); err != nil {
			return err
		}
	}
	size := r.factory.books.most
	note(fmt.Sprintf("end all sessions, wait %d ticks, acquire %d workers at once", lim.calm, size))
	for i := 1; i <= size; i++ {
		op := model.Op{Kind: model.OpAcquire, Client: model.Client(i)}
		if err := r.apply(op, 0); err != nil {
			return err
		}
		r.clock.restUntil(r, r.nobodyCalls)
		r.collect()
		if err := r.settled(op); err != nil {
			return err
		}
		if r.clients[i].lease == nil {
			return fmt.Errorf("I5: only %d of %d workers can be held at once: the acquire of client %d ends with %s",
				i-1, size, i, fullEventTexts(r.seen))
		}
	}
	return r.letGoAll()
}
