package broken

import (
	"context"
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Faults that need a particular interleaving. Each looks at the pool, lets go of the lock,
// and acts on what it saw; with everything at rest in between, nothing is wrong.
const (
	// CancelDropsGrant: a cancel that finds its waiter granted drops the lease (G1).
	CancelDropsGrant Fault = iota + 401
	// CancelAfterLook: a cancel looks whether its waiter was granted, and then removes it (G1).
	CancelAfterLook
	// GiveBackForgotten: a caller that wakes with a lease and a context that is done drops the lease (G1).
	GiveBackForgotten
	// GiveBackKeepsBinding: a grant is given back but for the binding that it made (G1).
	GiveBackKeepsBinding
	// WaitsUnseen: an acquire finds nothing idle and is then parked without another look (G2).
	WaitsUnseen
	// FirstCallsRace: an acquire looks whether its session is known, and then enters it (L33).
	FirstCallsRace
	// FreshReadLate: a caller reads whether its lease is fresh when it wakes, not at the grant (L34).
	FreshReadLate
	// StartsTogether: an acquire looks whether a start may begin, and then begins it (G6).
	StartsTogether
	// ReleaseForgetsClose: a release finds the pool open, and then makes its worker idle (G4).
	ReleaseForgetsClose
	// ReleaseForgetsWaiters: a release finds nobody waiting, and then makes its worker idle (G2).
	ReleaseForgetsWaiters
	// ReleaseForgetsShrink: a release finds no worker too many, and then makes its own idle (L26).
	ReleaseForgetsShrink
	// ReleaseForgetsRetire: a release finds its worker well, and then makes it idle (L25).
	ReleaseForgetsRetire
	// ReleaseForgetsTell: a release finds nothing to tell its worker, and then makes it idle (L29).
	ReleaseForgetsTell
	// StartLandsInShrink: a start finds room for its worker, and then makes it idle (L14).
	StartLandsInShrink
	// StartLandsRetired: a start finds that nobody gave it up, and then makes its worker idle (L14).
	StartLandsRetired
	// CheckLandsInClose: a check finds the pool open, and then makes its worker idle (G4).
	CheckLandsInClose
	// EndSessionParksAgain: the end of a session finds waiters, and then parks them for the next of that name (G1).
	EndSessionParksAgain
	// TTLEndsTheNext: the timer finds that a session is over, and then ends whatever has that name (L11).
	TTLEndsTheNext
	// TimeoutAfterGrant: the timer finds waiters whose time is up, and then fails them (L24).
	TimeoutAfterGrant
	// RetireAfterRelease: Retire finds its worker leased, and then leaves the stop to a release (L25).
	RetireAfterRelease
	// RetireUnderHolder: Retire finds its worker idle, and then stops it (L25).
	RetireUnderHolder
	// DoneClosedTwice: two callers find the pool empty, and both let Close return (G8).
	DoneClosedTwice
	// StatTorn: the counts are read in two parts (G13).
	StatTorn
)

// Races returns all faults that need a particular interleaving. The caller owns the result.
func Races() []Info {
	prefer := []pool.Affinity{pool.Prefer}
	return []Info{
		{CancelDropsGrant, "cancel-drops-grant", "G1", "I6", "a worker granted to a caller that gives up is lost", Needs{Cancel: true}},
		{CancelAfterLook, "cancel-after-look", "G1", "I6", "a worker granted while a caller gives up is lost", Needs{Cancel: true}},
		{GiveBackForgotten, "give-back-forgotten", "G1", "I6", "a worker granted just before its caller gives up is lost", Needs{Cancel: true}},
		{GiveBackKeepsBinding, "give-back-keeps-binding", "G1", "I6", "a binding stays although its lease was given back", Needs{Cancel: true, Sessions: true}},
		{WaitsUnseen, "waits-unseen", "G2", "I5", "an acquire waits for a worker that has become idle", Needs{}},
		{FirstCallsRace, "first-calls-race", "L33", "I8", "two first calls of a session bind it twice", Needs{MaxSize: 2, Sessions: true}},
		{FreshReadLate, "fresh-read-late", "L34", "I8", "a lease tells of the session's next lease whether it is fresh", Needs{MaxSize: 2, Affinities: prefer, Sessions: true}},
		{StartsTogether, "starts-together", "G6", "I2", "two acquires begin a start in one slot", Needs{}},
		{ReleaseForgetsClose, "release-forgets-close", "G4", "I13", "a worker released while the pool closes is never stopped", Needs{Shutdown: true}},
		{ReleaseForgetsWaiters, "release-forgets-waiters", "G2", "I5", "a worker is idle while a caller waits", Needs{}},
		{ReleaseForgetsShrink, "release-forgets-shrink", "L26", "I16", "a worker released while MaxSize shrinks stays", Needs{MaxSize: 2, Resize: true}},
		{ReleaseForgetsRetire, "release-forgets-retire", "L25", "I16", "a worker reported dead at its release is kept", Needs{Retire: true}},
		{ReleaseForgetsTell, "release-forgets-tell", "L29", "I9", "a worker is not told of a session that ends at its release", Needs{SessionEnded: true, Sessions: true, EndSession: true}},
		{StartLandsInShrink, "start-lands-in-shrink", "L14", "I16", "a start that returns while MaxSize shrinks makes a worker too many", Needs{MaxSize: 2, MinSize: true, Resize: true}},
		{StartLandsRetired, "start-lands-retired", "L14", "I16", "a worker reported dead as its start returns is used", Needs{Retire: true}},
		{CheckLandsInClose, "check-lands-in-close", "G4", "I13", "a check that returns while the pool closes keeps Close from returning", Needs{Check: true, Shutdown: true}},
		{EndSessionParksAgain, "end-session-parks-again", "G1", "I5", "a session's waiter that is granted as it ends waits on, and takes a second worker", Needs{Sessions: true, EndSession: true}},
		{TTLEndsTheNext, "ttl-ends-the-next", "L11", "I9", "the end of a session by its time ends the next of that name", Needs{Sessions: true, SessionTTL: true, SessionEnded: true}},
		{TimeoutAfterGrant, "timeout-after-grant", "L24", "I4", "a worker granted as its caller's time is up is lost", Needs{AcquireTimeout: true}},
		{RetireAfterRelease, "retire-after-release", "L25", "I16", "a worker reported dead after its release is never stopped", Needs{Retire: true}},
		{RetireUnderHolder, "retire-under-holder", "L25", "I3", "a worker reported dead as it is granted is stopped under its holder", Needs{Retire: true}},
		{DoneClosedTwice, "done-closed-twice", "G8", "I13", "the end of the pool is announced twice, which panics", Needs{Shutdown: true}},
		{StatTorn, "stat-torn", "G13", "I15", "the counts never were what they say", Needs{}},
	}
}

// look calls see under the lock and changes nothing by itself.
func (p *Pool[T]) look(see func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	see()
}

// quietly makes a change without applying the rules, as one does that has looked before
// whether there is anything to do.
func (p *Pool[T]) quietly(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = time.Now()
	change()
	p.arm()
}

// arrive is the entry of an acquire.
func (p *Pool[T]) arrive(ctx context.Context, id pool.SessionID, try bool) (l *lease[T], q *waiter[T], err error) {
	enter := func() { l, q, err = p.enter(ctx, id, try) }
	switch p.fault {
	case WaitsUnseen:
		busy := false
		p.update(func() {
			busy = p.onlyWaits(ctx, id, try)
			if !busy {
				enter()
			}
		})
		if busy {
			p.look(func() { q = p.park(nil) })
		}
	case FirstCallsRace:
		known := true
		p.look(func() { known = id == "" || p.session(id) != nil })
		p.update(func() {
			other := p.session(id)
			if !known && other != nil {
				p.forget(other)
			}
			enter()
			if !known && other != nil {
				p.table = append(p.table, other)
			}
		})
	case StartsTogether:
		may := false
		p.look(func() {
			may = len(p.waiters) == 0 && p.present() == p.count(leased) && p.mayStart() && p.session(id) == nil && !try
		})
		p.update(func() {
			if enter(); may && q != nil {
				p.begin()
			}
		})
	default:
		p.update(enter)
	}
	return l, q, err
}

// onlyWaits tells whether all that an acquire can do is wait for a release.
func (p *Pool[T]) onlyWaits(ctx context.Context, id pool.SessionID, try bool) bool {
	plain := id == "" && !try && ctx.Err() == nil && p.cfg.MaxWaiters == 0 && p.cfg.AcquireTimeout == 0
	return plain && !p.closing && len(p.workers) >= p.cfg.MaxSize && p.count(leased) == len(p.workers)
}

// drops tells, for a caller whose context has ended, whether it leaves with whatever it
// was granted.
func (p *Pool[T]) drops(q *waiter[T]) bool {
	granted := false
	p.look(func() {
		select {
		case <-q.done:
			granted = true
		default:
		}
	})
	switch {
	case p.fault == CancelDropsGrant && granted:
		return true
	case p.fault == CancelAfterLook && !granted:
		p.update(func() {
			p.waiters = slices.DeleteFunc(p.waiters, func(v *waiter[T]) bool { return v == q })
			if q.session != nil {
				p.quiet(q.session)
			}
		})
		return true
	}
	return false
}

// conclude ends a lease.
func (p *Pool[T]) conclude(l *lease[T], cause error) {
	if p.fault >= ReleaseForgetsClose && p.fault <= ReleaseForgetsTell && cause == nil && p.concludeQuietly(l) {
		return
	}
	p.update(func() { p.end(l, cause) })
}

// concludeQuietly makes the worker of a lease idle if there is nothing else to do.
func (p *Pool[T]) concludeQuietly(l *lease[T]) (done bool) {
	p.look(func() { done = p.undemanding(l, None) })
	if !done {
		return false
	}
	p.quietly(func() {
		if done = p.undemanding(l, p.fault); done {
			l.worker.lease = nil
			p.available(l.worker)
		}
	})
	return done
}

// undemanding tells whether the end of l leaves nothing to do, but for what is forgotten.
func (p *Pool[T]) undemanding(l *lease[T], forgets Fault) bool {
	w := l.worker
	switch {
	case l.revoked, l.session != nil, p.past(w), p.cfg.SessionTTL > 0, !w.due.IsZero():
		return false
	}
	return (!p.closing || forgets == ReleaseForgetsClose) &&
		(len(p.waiters) == 0 || forgets == ReleaseForgetsWaiters) &&
		(p.present() <= p.cfg.MaxSize || forgets == ReleaseForgetsShrink) &&
		(!w.retired || forgets == ReleaseForgetsRetire) &&
		(len(w.debts) == 0 || forgets == ReleaseForgetsTell)
}

// phaseBefore returns the phase of a worker before a change that relies on it, for the
// faults that do.
func (p *Pool[T]) phaseBefore(id pool.WorkerID) phase {
	before := stopping
	if p.fault == RetireAfterRelease || p.fault == RetireUnderHolder {
		p.look(func() {
			if w := p.worker(id); w != nil {
				before = w.phase
			}
		})
	}
	return before
}

// queuedBefore returns who waits for a session before it ends, for the fault that relies on
// it.
func (p *Pool[T]) queuedBefore(id pool.SessionID) (queued []*waiter[T]) {
	if p.fault == EndSessionParksAgain {
		p.look(func() {
			for _, q := range p.waiters {
				if q.session != nil && q.session.id == id {
					queued = append(queued, q)
				}
			}
		})
	}
	return queued
}

// parkAgain parks for the new epoch of a session those who waited for the last one and do
// not any more. Their callers are gone.
func (p *Pool[T]) parkAgain(id pool.SessionID, queued []*waiter[T]) {
	for _, q := range queued {
		if slices.Contains(p.waiters, q) {
			continue
		}
		s := p.session(id)
		if s == nil {
			s = &session[T]{id: id}
			p.table = append(p.table, s)
		}
		p.park(s)
	}
}

// land makes done, which takes the result of a hook of w, a change of the pool.
func (p *Pool[T]) land(w *worker[T], name string, err error, done func()) {
	lands := p.fault == StartLandsRetired || p.fault == StartLandsInShrink || p.fault == CheckLandsInClose
	if !lands {
		p.update(done)
		return
	}
	before, quiet := stopping, false
	p.look(func() {
		before = w.phase
		quiet = err == nil && !p.closing && len(p.waiters) == 0 && p.delay == 0 && p.present() <= p.cfg.MaxSize &&
			len(p.workers) >= p.cfg.MinSize && before != stopping
	})
	switch {
	case p.fault == StartLandsRetired && name == "Start" && before == starting:
		p.update(func() {
			w.phase = starting
			done()
		})
	case quiet && (p.fault == StartLandsInShrink && name == "Start" || p.fault == CheckLandsInClose && name == "Check"):
		p.quietly(func() {
			if name == "Check" {
				w.phase = checking
			}
			done()
		})
	default:
		p.update(done)
	}
}

// tick is the timer's function.
func (p *Pool[T]) tick() {
	if p.fault != TTLEndsTheNext && p.fault != TimeoutAfterGrant {
		p.update(func() {})
		return
	}
	var over []pool.SessionID
	var late []*waiter[T]
	p.look(func() {
		p.now = time.Now()
		for _, s := range p.table {
			if end, ok := p.sessionEnd(s); ok && p.reached(end) && p.fault == TTLEndsTheNext {
				over = append(over, s.id)
			}
		}
		for _, q := range p.waiters {
			if p.fault == TimeoutAfterGrant && p.cfg.AcquireTimeout > 0 && p.reached(q.since.Add(p.cfg.AcquireTimeout)) {
				late = append(late, q)
			}
		}
	})
	p.update(func() {
		for _, id := range over {
			if s := p.session(id); s != nil {
				p.endSession(s)
			}
		}
		for _, q := range late {
			if slices.Contains(p.waiters, q) {
				p.answer(q, nil, pool.ErrAcquireTimeout)
			} else {
				q.lease, q.err = nil, pool.ErrAcquireTimeout
			}
		}
	})
}

// announce lets Close and Shutdown return.
func (p *Pool[T]) announce() {
	empty := false
	p.look(func() { empty = p.emptied && !p.finished })
	if empty {
		p.look(func() { p.finished, p.outcome = true, p.report() })
		close(p.done)
	}
}
