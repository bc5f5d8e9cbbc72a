package pool

import (
	"hash/maphash"
	"time"
)

// limits is the part of Config that the core needs, with defaults filled in.
type limits struct {
	MinSize, MaxSize, MaxWaiters      int
	AcquireTimeout, StartTimeout      time.Duration
	StopTimeout                       time.Duration
	StartConcurrency                  int
	StartBackoff                      Backoff
	HealthCheckPeriod                 time.Duration // never if there are no checks
	HealthCheckFailures               int
	MaxIdleTime, MaxLifetime          time.Duration
	MaxLifetimeJitter                 time.Duration
	MaxLeases                         int
	Affinity                          Affinity
	SessionTTL                        time.Duration
	MaxSessions, MaxSessionsPerWorker int
	tells                             bool // SessionEnded is set
}

// state is the pool's core: every rule is decided here. Inputs are its methods, called
// under Pool.mu through Pool.update; outputs are the effects, which update carries out.
// It does no I/O, starts no goroutine and reads no clock.
type state struct {
	limits
	random   func() float64
	seed     maphash.Seed // of the salts of bindings
	observed bool         // somebody wants events
	calm     bool         // the short cuts of quick.go apply: see takeCalm

	now    time.Duration // the last clock reading
	alarm  time.Duration // no deadline is earlier
	seq    uint64        // of the last change
	token  Token
	nextID WorkerID
	ticket uint64

	// Workers. live has them all; free and bound list the idle ones, without and with
	// bindings. The counters partition live together with those two.
	live                                []*worker
	free, bound                         []*worker
	starting, checking, leased, stopped int // stopped counts phase stopping
	telling, cancelledChecks, due       int // parts of checking, of checking, of idle

	// Waiters. unbound holds, in order of arrival, those that no single worker must
	// serve; the others are in their worker's list.
	unbound         waiterList
	waiting         int
	anonymous       int // waiters without a session
	unboundSessions int // distinct unbound sessions with waiters
	boundPrefer     int // waiters of bound sessions under Prefer
	readying        int // callers of Ready

	// Sessions. oldest to youngest are those that only wait to expire.
	sessions         map[SessionID]*session
	bindings, lost   int
	oldest, youngest *session

	// Back-off of starts (I10).
	epoch     uint64
	probes    int           // starts in flight that began in this epoch
	delay     time.Duration // 0: closed
	resume    time.Duration // while delay > 0: when the back-off is half-open
	lastStart *StartError

	// Recycling: sweeping while some idle worker has not been stamped yet.
	sweeping bool
	sweepAt  time.Duration

	closing   bool
	drained   time.Duration // once closing: when no lease was out; never before that
	doneAt    time.Duration // the time by which Close and Shutdown return
	finished  bool
	revokedOf []WorkerID
	outcome   error // once finished: of Close and Shutdown

	counts Counts

	// Effects, taken by update.
	woken    *waiter
	effects  []effect
	events   []Event
	attended []*worker // idle workers whose situation changed
	rematch  bool      // waiters may have become able to use idle workers
	started  bool      // a start succeeded, MinSize changed or closing began: callers of Ready look again
}

// effect is something that the shell does after the lock is released.
type effect struct {
	hook    hook // run it, or
	stop    bool // end the context of the running one, or
	corrupt bool // say that the binding of id was
	w       *worker
	id      SessionID // for hookTell
	cause   error
}

func after(now, d time.Duration) time.Duration {
	if d >= never-now {
		return never
	}
	return now + d
}

func (st *state) present() int { return len(st.live) - st.stopped }

func (st *state) idle() int { return len(st.free) + len(st.bound) }

// note records an event for the observer.
func (st *state) note(e Event) {
	if st.observed {
		e.Seq = st.seq
		st.events = append(st.events, e)
	}
}

// request is one call of an acquire method.
type request struct {
	id    SessionID
	try   bool
	timed bool // the clock has been read

	got   grant    // the outcome: a grant,
	err   error    // a refusal,
	parks bool     // or a wait,
	s     *session // for this session, nil if anonymous
	w     *waiter  // as this waiter
}

// acquire grants or refuses r, or says that it must be parked at once. It reports false,
// and has done nothing, if that takes a look at the clock first.
func (st *state) acquire(r *request) bool {
	if st.closing {
		return st.turnAway(r, nil, ErrClosed)
	}
	var s *session
	if r.id != "" {
		if st.SessionTTL > 0 && !r.timed {
			return false
		}
		if s = st.lookup(r.id); s == nil {
			var err error
			if s, err = st.reserve(r.id); err != nil {
				return st.turnAway(r, nil, err)
			}
		} else if s.lost {
			return st.turnAway(r, nil, ErrSessionLost)
		}
	}
	if w := st.choose(s); w != nil {
		st.takeIdle(w)
		r.got = st.grant(w, s, !r.try)
		return true
	}
	if r.try {
		return st.turnAway(r, s, ErrNotAvailable)
	}
	if !r.timed && (st.AcquireTimeout > 0 || st.delay > 0) {
		if s != nil && s.w == nil {
			st.rest(s)
		}
		return false
	}
	if err := st.refusal(s); err != nil {
		return st.turnAway(r, s, err)
	}
	r.parks, r.s = true, s
	return true
}

// turnAway refuses r. s is the session's entry, nil if it has none.
func (st *state) turnAway(r *request, s *session, err error) bool {
	r.err = err
	st.note(Event{Kind: AcquireRefused, Session: r.id, Err: err})
	if s != nil && s.w == nil {
		st.rest(s)
	}
	return true
}

// refusal says why an acquire that finds no idle worker is not parked, nil if it is.
func (st *state) refusal(s *session) error {
	switch {
	case st.backingOff() && (s == nil || s.w == nil) && !st.everServed():
		return st.lastStart
	case st.MaxWaiters > 0:
		surplus := st.waiting - st.starting // no sum with MaxWaiters, which may be as high as an int goes
		if !st.backingOff() {
			surplus -= max(0, st.MaxSize-len(st.live))
		}
		if surplus >= st.MaxWaiters {
			return ErrSaturated
		}
	}
	return nil
}

// everServed reports whether some live worker could come to serve an unbound acquire.
func (st *state) everServed() bool {
	for _, w := range st.live {
		switch w.phase {
		case starting:
			return true
		case idle, checking, leased:
			if !w.past && !w.retired {
				return true
			}
		}
	}
	return false
}

// choose returns the idle worker that an acquire of s, nil if anonymous, is granted, or
// nil: its own; else one with the fewest bindings, the last used of those that have none.
func (st *state) choose(s *session) *worker {
	limit := 0
	if s != nil {
		if s.w != nil {
			if s.w.phase == idle {
				return s.w
			}
			if st.Affinity != Prefer {
				return nil
			}
		}
		limit = st.MaxSessionsPerWorker
	}
	if n := len(st.free); n > 0 {
		return st.free[n-1]
	}
	var best *worker
	for _, w := range st.bound {
		if w.roomy(limit) && (best == nil || w.bindings < best.bindings) {
			best = w
		}
	}
	return best
}

// grant leases w, which is in no list, to s, nil if anonymous. If spread, a binding made
// on an already bound worker begins another start (I18).
func (st *state) grant(w *worker, s *session, spread bool) grant {
	w.phase = leased
	st.leased++
	w.leases++
	if w.leases == st.MaxLeases {
		w.past = true
	}
	st.token++
	w.freshBind, w.due, w.idleFrom = false, false, never
	if w.session = s; s != nil {
		s.leases++
		w.leaseEpoch = s.epoch
		st.wake(s)
		if s.w != w {
			w.freshBind = true
			if s.w != nil {
				st.unbind(s, true)
			}
			crowded := w.bindings > 0
			st.bind(s, w)
			if crowded && spread && st.delay == 0 && st.canStart() {
				st.start()
			}
		}
	}
	st.note(Event{Kind: LeaseGranted, Worker: w.id, Session: s.name(), Token: st.token, Fresh: w.freshBind})
	g := grant{w: w, gen: w.gen.Load(), token: st.token}
	if w.freshBind {
		g.gen |= freshBit
	}
	return g
}

// wantsClock reports whether the release of w takes a look at the clock first.
func (st *state) wantsClock(w *worker) bool {
	return st.closing || st.SessionTTL > 0 && (w.session != nil || w.bindings > 0)
}

// endLease ends the lease of w, which keeps nothing of it.
func (st *state) endLease(w *worker) {
	w.gen.Add(2 * freshBit)
	st.leased--
	if s := w.session; s != nil {
		w.session = nil
		if w.leaseEpoch == s.epoch {
			s.leases--
			st.rest(s)
		}
	}
}

// release ends the lease of w; unusable, not nil, says why w must not be used again.
func (st *state) release(w *worker, unusable error) {
	if s := w.session; s != nil && w.leaseEpoch == s.epoch {
		st.trust(s)
	}
	st.note(Event{Kind: LeaseEnded, Worker: w.id, Session: w.session.name(), Err: unusable})
	st.endLease(w)
	switch {
	case unusable != nil:
		st.stop(w, unusable)
	case w.retired:
		st.stop(w, w.cause)
	default:
		st.available(w)
	}
	if st.closing && st.leased == 0 {
		st.drain()
	}
}

// giveBack undoes a grant that its caller no longer wants (I6).
func (st *state) giveBack(g grant) {
	w := g.w
	if w.phase != leased { // revoked meanwhile
		g.end()
		return
	}
	if w.leases--; w.leases < st.MaxLeases {
		w.past = w.expired
	}
	s := w.session
	undo := w.freshBind && s != nil && s.sound() && s.w == w && w.leaseEpoch == s.epoch
	if undo {
		st.unbind(s, false)
	}
	st.release(w, nil)
}

// available finds what w does next: it is in no list and has neither lease nor hook.
func (st *state) available(w *worker) {
	var next *waiter
	for look := true; look; {
		if st.divert(w) {
			return
		}
		if look = !st.rematch; look {
			next = st.nextFor(w)
			look = st.rematch // it found a corrupt binding: w may owe a telling now
		}
	}
	if next != nil {
		st.serve(next, w)
		return
	}
	w.phase = idle
	st.list(w)
	if st.rematch { // some waiters may now use others that are idle, too
		st.match(w)
	}
}

// divert stops or tells w if it must not become idle now.
func (st *state) divert(w *worker) bool {
	st.watchIdle(w)
	switch {
	case st.closing,
		w.past && (st.Affinity != Strict || w.bindings == 0),
		st.present() > st.MaxSize:
		st.stop(w, nil)
	case len(w.debts) > 0:
		st.tell(w)
	default:
		return false
	}
	return true
}

// serve grants w to the waiter x.
func (st *state) serve(x *waiter, w *worker) {
	s := x.session
	st.settleWaiter(x)
	x.got = st.grant(w, s, true)
}

// list enters w among the idle workers where its bindings say.
func (st *state) list(w *worker) {
	to := &st.free
	if w.bindings > 0 {
		to = &st.bound
	}
	w.pos = len(*to)
	*to = append(*to, w)
	if w.due {
		st.due++
	}
}

// takeIdle takes w out of the idle workers, wherever its bindings listed it.
func (st *state) takeIdle(w *worker) {
	from := &st.free
	if w.pos >= len(st.free) || st.free[w.pos] != w {
		from = &st.bound
	}
	last := len(*from) - 1
	switch {
	case w.pos == last:
	case from == &st.bound:
		(*from)[w.pos] = (*from)[last]
		(*from)[w.pos].pos = w.pos
	default: // keep the order: the last is the last used
		copy((*from)[w.pos:], (*from)[w.pos+1:])
		for i := w.pos; i < last; i++ {
			(*from)[i].pos = i
		}
	}
	*from = (*from)[:last]
	if w.due {
		st.due--
	}
}

// attend has settle look at the idle worker w again.
func (st *state) attend(w *worker) { st.attended = append(st.attended, w) }

// settle brings the pool to rest after a change: it stops, matches, starts and checks
// until no rule asks for more.
func (st *state) settle() {
	for len(st.attended) > 0 || st.rematch {
		st.lookAgain()
		if st.rematch {
			st.rematch = false
			st.match(nil)
		}
	}
	if st.closing {
		return
	}
	provided := 0
	if st.waiting > 0 && st.checking > st.telling {
		provided = st.yieldChecks()
	}
	for st.wantsStart(provided) {
		st.start()
	}
	if st.due > 0 {
		st.beginChecks()
	}
}

// lookAgain stops or tells those idle workers of attended that must not stay idle.
func (st *state) lookAgain() {
	for len(st.attended) > 0 {
		last := len(st.attended) - 1
		w := st.attended[last]
		st.attended = st.attended[:last]
		if w.phase != idle {
			continue
		}
		st.takeIdle(w)
		if !st.divert(w) {
			st.list(w)
			st.rematch = true
		}
	}
}

// match serves waiters in order of arrival while one may use an idle worker. added, unless
// nil, has become idle just now: those who wait for it alone have not been served.
func (st *state) match(added *worker) {
	for st.waiting > 0 {
		st.lookAgain()
		first := st.nextOf(added)
		switch {
		case first == nil:
			return
		case first.session != nil && !first.session.sound():
			st.disown(first.session)
			continue
		}
		w := st.choose(first.session)
		st.takeIdle(w)
		st.serve(first, w)
	}
}
