package otelpool

import (
	"context"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// log pairs events that belong together. They may come in any order, so whichever is the
// first waits for the other. What it holds is bounded by the workers that live, and by
// what is just being delivered.
type log struct {
	starts map[pool.WorkerID]start // begun, or ended, and the other is not known yet
	leases map[pool.WorkerID]*leases
	hints  [64]hint // a ring: why the worker of an event stops, if a later event of the same change says that it does
	next   int
}

// leases are the grants, or the ends, of one worker's leases that wait for the others.
type leases struct {
	times []time.Time
	ends  bool // of ends
}

type hint struct {
	seq    uint64
	worker pool.WorkerID
	cause  string
}

func newLog() log {
	return log{starts: map[pool.WorkerID]start{}, leases: map[pool.WorkerID]*leases{}}
}

// start is the begin of a start, or its end.
type start struct {
	at  time.Time
	how string // it ended; empty for the begin
}

// start notes the begin or the end of a start. Once both are known it returns how long it
// took and how it ended.
func (l *log) start(id pool.WorkerID, one start) (took time.Duration, how string, ok bool) {
	other, ok := l.starts[id]
	switch {
	case !ok:
		l.starts[id] = one
		return 0, "", false
	case other.how == "":
		took, how = one.at.Sub(other.at), one.how
	default: // the end was told first
		how = other.how
	}
	delete(l.starts, id)
	return took, how, true
}

// lease notes the grant or the end of a lease, and returns how long one was out once both
// are known.
func (l *log) lease(id pool.WorkerID, now time.Time, end bool) (took time.Duration, ok bool) {
	w := l.leases[id]
	if w == nil {
		w = &leases{}
		l.leases[id] = w
	}
	if len(w.times) == 0 || w.ends == end {
		w.times, w.ends = append(w.times, now), end
		return 0, false
	}
	if end {
		took = now.Sub(w.times[0])
	} // else the end was told first
	if w.times = w.times[1:]; len(w.times) == 0 {
		delete(l.leases, id)
	}
	return took, true
}

func (l *log) hint(e pool.Event, cause string) {
	l.hints[l.next] = hint{e.Seq, e.Worker, cause}
	l.next = (l.next + 1) % len(l.hints)
}

// causeOf names why a worker stops.
func (l *log) causeOf(e pool.Event) string {
	for _, h := range l.hints {
		if h.seq == e.Seq && h.worker == e.Worker {
			return h.cause
		}
	}
	if e.Err == nil {
		return planned
	}
	return retired
}

// Observer returns a function for pool.Config.Observer. It calls next afterwards, unless
// that is nil.
func (t *Telemetry) Observer(next func(pool.Event)) func(pool.Event) {
	return func(e pool.Event) {
		t.observe(e)
		if next != nil {
			next(e)
		}
	}
}

func (t *Telemetry) observe(e pool.Event) {
	now := time.Now()
	switch e.Kind {
	case pool.WorkerStarting:
		t.start(e, start{at: now})
	case pool.WorkerStarted:
		t.start(e, start{now, started})
	case pool.WorkerStartFailed:
		t.start(e, start{now, failed})
	case pool.WorkerStopping:
		var why string
		t.locked(func(l *log) { why = l.causeOf(e) })
		t.stops.Add(context.Background(), 1, t.cause[why])
	case pool.CheckEnded:
		if e.Err != nil {
			t.locked(func(l *log) { l.hint(e, unhealthy) })
		}
	case pool.AcquireRefused:
		why := outcomeOf(e.Err)
		t.outcomes.Add(context.Background(), 1, t.outcome[why])
		if why == timedOut {
			t.timeouts.Add(context.Background(), 1, t.plain)
		}
	case pool.LeaseGranted:
		t.outcomes.Add(context.Background(), 1, t.outcome[granted])
		t.lease(e, now, false)
	case pool.LeaseEnded:
		if e.Err != nil {
			t.locked(func(l *log) { l.hint(e, discarded) })
		}
		t.lease(e, now, true)
	case pool.LeaseRevoked:
		t.locked(func(l *log) { l.hint(e, revoked) })
		t.lease(e, now, true)
	case pool.SessionLost:
		t.losses.Add(context.Background(), 1, t.plain)
	case pool.Closed:
		t.locked(func(l *log) { clear(l.starts) }) // those that the close cut short have no end
	}
}

func (t *Telemetry) locked(f func(*log)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.log)
}

func (t *Telemetry) start(e pool.Event, one start) {
	if one.how != "" {
		t.starts.Add(context.Background(), 1, t.started[one.how])
	}
	var took time.Duration
	var how string
	var ok bool
	t.locked(func(l *log) { took, how, ok = l.start(e.Worker, one) })
	if ok {
		t.created.Record(context.Background(), took.Seconds(), t.started[how])
	}
}

func (t *Telemetry) lease(e pool.Event, now time.Time, end bool) {
	var took time.Duration
	var ok bool
	t.locked(func(l *log) { took, ok = l.lease(e.Worker, now, end) })
	if ok {
		t.used.Record(context.Background(), took.Seconds(), t.plain)
	}
}
