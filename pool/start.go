package pool

import (
	"context"
	"slices"
	"time"
)

// backingOff reports whether a back-off runs: no start may begin.
func (st *state) backingOff() bool { return st.delay > 0 && st.now < st.resume }

// canStart reports whether the limits allow a start to begin.
func (st *state) canStart() bool {
	switch {
	case st.closing || len(st.live) >= st.MaxSize || st.starting >= st.StartConcurrency:
		return false
	case st.delay == 0:
		return true
	}
	return st.now >= st.resume && st.probes == 0 // half-open: one at a time
}

// wantsStart reports whether a start must begin (I5). provided is how many waiters
// cancelled checks will serve.
func (st *state) wantsStart(provided int) bool {
	least := st.MinSize
	if st.readying > 0 {
		least = max(1, least)
	}
	demand := st.anonymous + st.unboundSessions + st.boundPrefer - provided
	return st.starting < max(demand, least-(len(st.live)-st.starting)) && st.canStart()
}

// start begins the start of a new worker.
func (st *state) start() {
	st.nextID++
	w := &worker{
		id: st.nextID, epoch: st.epoch, running: hookStart,
		startBy: never, pastAt: never, checkAt: never, idleFrom: never,
	}
	st.live = append(st.live, w)
	st.starting++
	st.probes++
	st.effects = append(st.effects, effect{hook: hookStart, w: w})
	st.note(Event{Kind: WorkerStarting, Worker: w.id})
}

// startBegan says when the start of w really began: a grant that causes one reads no clock.
func (st *state) startBegan(w *worker, now time.Duration) {
	w.startBy = after(now, st.StartTimeout)
	st.alarmAt(w.startBy)
}

// startReturned takes the result of w's Start. value points to the worker if err is nil.
func (st *state) startReturned(w *worker, value any, err error) {
	w.running = hookNone
	if err == nil {
		w.value, w.alive = value, true
	}
	switch {
	case w.phase == stopping: // it has failed, or the pool is closing
		if err == nil {
			st.counts.Started++
		}
		st.stopOrBury(w)
	case err != nil:
		st.bury(w)
		st.startFailed(w, err)
	default:
		st.starting--
		st.delay = 0
		if w.epoch == st.epoch {
			st.probes--
		}
		st.started = true
		st.counts.Started++
		if st.MaxLifetime > 0 {
			w.pastAt = after(st.now, st.MaxLifetime-time.Duration(st.random()*float64(st.MaxLifetimeJitter)))
			st.alarmAt(w.pastAt)
		}
		w.checkAt = after(st.now, st.HealthCheckPeriod)
		st.alarmAt(w.checkAt)
		st.note(Event{Kind: WorkerStarted, Worker: w.id})
		w.phase = idle // in no list, as stop and available expect
		st.available(w)
	}
}

// abandon fails the start of w, whose Start has not returned.
func (st *state) abandon(w *worker, err error) {
	w.phase = stopping
	w.cause = &WorkerError{ID: w.id, Err: err}
	st.stopped++
	st.effects = append(st.effects, effect{stop: true, w: w, cause: err})
	st.startFailed(w, err)
}

// startFailed settles what the failure of w's start means for the others (I10). w is no
// longer starting.
func (st *state) startFailed(w *worker, err error) {
	st.starting--
	st.counts.StartFailures++
	failure := &StartError{ID: w.id, Err: err}
	st.lastStart = failure
	st.note(Event{Kind: WorkerStartFailed, Worker: w.id, Err: failure})
	if w.epoch == st.epoch {
		st.epoch++
		st.probes = 0
		st.delay = max(st.StartBackoff.Min, min(st.StartBackoff.Max, 2*st.delay))
		st.resume = after(st.now, time.Duration(float64(st.delay)*(1+st.random())/2))
		st.alarmAt(st.resume)
	}
	if st.starting+st.idle()+st.checking+st.leased > 0 {
		return
	}
	for st.unbound.head != nil {
		st.refuse(st.unbound.head, failure)
	}
}

// retire takes a reaper's word that the worker id is dead (I16).
func (st *state) retire(id WorkerID, cause error) {
	w := st.find(id)
	switch {
	case w == nil || st.closing || w.retired:
	case w.phase == starting:
		st.abandon(w, cause)
	case w.phase == idle:
		st.takeIdle(w)
		st.stop(w, &WorkerError{ID: id, Err: cause})
	case w.phase == checking:
		st.stop(w, &WorkerError{ID: id, Err: cause})
	case w.phase == leased:
		w.retired, w.past = true, true
		w.cause = &WorkerError{ID: id, Err: cause}
		st.loseAll(w)
	}
}

func (st *state) find(id WorkerID) *worker {
	for _, w := range st.live {
		if w.id == id {
			return w
		}
	}
	return nil
}

func (st *state) loseAll(w *worker) {
	for s := w.bound; s != nil; s = w.bound {
		if !s.sound() {
			st.effects = append(st.effects, effect{corrupt: true, id: s.id})
			s.tie(w)
		}
		st.lose(s, false)
	}
	w.debts = nil
}

// stop takes w, which is in no list, out of service for good. A hook that runs is
// cancelled and awaited.
func (st *state) stop(w *worker, cause error) {
	switch w.phase {
	case checking:
		st.leaveChecking(w)
	case starting:
		st.starting--
	}
	w.phase = stopping
	w.cause = cause
	st.stopped++
	st.note(Event{Kind: WorkerStopping, Worker: w.id, Err: cause})
	st.loseAll(w)
	if w.running != hookNone {
		st.effects = append(st.effects, effect{stop: true, w: w, cause: context.Canceled})
		return
	}
	st.stopOrBury(w)
}

// stopOrBury runs Stop for a stopping worker without hooks, if there is something to stop.
func (st *state) stopOrBury(w *worker) {
	if !w.alive {
		st.stopped--
		st.bury(w)
		return
	}
	w.alive = false
	w.running = hookStop
	st.effects = append(st.effects, effect{hook: hookStop, w: w, cause: w.cause})
}

// stopReturned takes the result of w's Stop.
func (st *state) stopReturned(w *worker, err error) {
	w.running = hookNone
	st.stopped--
	st.counts.Stopped++
	st.note(Event{Kind: WorkerStopped, Worker: w.id, Err: err})
	st.bury(w)
}

// bury frees the slot of w.
func (st *state) bury(w *worker) {
	w.phase = gone
	for i, l := range st.live {
		if l == w {
			st.live = slices.Delete(st.live, i, i+1) // clears what it frees
			break
		}
	}
	// Nothing of the worker stays reachable from the slack of these.
	clear(st.free[len(st.free):cap(st.free)])
	clear(st.bound[len(st.bound):cap(st.bound)])
	clear(st.attended[len(st.attended):cap(st.attended)])
	if st.closing && len(st.live) == 0 {
		st.finish()
	}
}
