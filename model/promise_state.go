package model

import (
	"slices"
	"time"
)

// PromiseState judges what is observed of any pool through its factory and its callers:
// whether each event is legal after those before it (Observe), and what the pool owes
// when nothing moves (Rest). It is a fold over events: no goroutine, clock, randomness
// or I/O, and the same events give the same verdict. It suspects nothing that the spec
// does not promise; in particular nothing is owed at rest while a hook runs, for a pool
// may run its hooks wherever it likes.
//
// A PromiseState is not safe for concurrent use.
type PromiseState struct {
	cfg PromiseConfig

	resources []promiseResource // by ID - 1
	open      []promiseCall     // calls that have not returned
	sessions  map[string]*promiseSession
	granted   []promiseCall // acquires granted since the last rest
	losses    []promiseLoss // noticed since the last rest

	alive    int // being created, created and not yet destroyed
	held     int // leases out
	inCreate int // hooks running
	inOther  int

	capLow, capHigh int // the capacity is between these
	capStep         int // the most that it was since the last rest
	resizes         int // resizes under way
	resizeClear     bool

	resetsBegun int // resets called so far
	resetDone   int // the last of them that has returned
	resetAtRest int // resetDone at the last rest

	closing  bool // a close has been called
	closed   bool // a close has returned
	forced   bool // a shutdown's context ended: leases are revoked
	failedAt time.Duration
	failures int // creates that failed
	creates  int // creates begun

	still        bool // nothing has been observed since the last rest
	rests        int
	restAt       time.Duration
	restCreates  int // creates at the last rest
	restInFlight int // hooks running at the last rest
}

// promiseLoss is a loss of a session that a client was told of, or noticed as its session
// had moved. The caller may hear of it before the resource's destruction begins, so it is
// judged at the next rest.
type promiseLoss struct {
	client   int
	session  string
	resource uint64
	to       uint64 // where it has moved; 0: it is lost
}

type promiseResource struct {
	id                  uint64
	phase               promisePhase
	holder              int // the acquire that holds it; 0: none
	grants              int
	checking            int
	born                int  // resets begun before its create
	across              bool // it was being created when a reset was called
	discarded           bool
	createdAt, idleAt   time.Duration
	checkAt             time.Duration // when its last check began
	createdRest, idleIn int           // rests before that
}

type promisePhase uint8

const (
	promiseCreating promisePhase = iota
	promiseAlive
	promiseDestroying
	promiseGone
	promiseFailed
)

type promiseCall struct {
	PromiseEvent        // as it began
	rests        int    // rests before it
	parked       int    // first rest at which it waited and no create ran; 0: none
	reset        int    // resetDone when it began
	failures     int    // failures when it began
	ahead        int    // acquires under way when it began, and those begun since
	cancelled    bool   // its context has ended
	late         bool   // a close had returned
	room         bool   // nothing moved and there was capacity
	pinned       uint64 // its session's resource when it began; 0: none
	preferred    uint64 // its session's resource, if that was idle and nothing moved
}

type promiseSession struct {
	bound  uint64 // 0: none
	ending int    // calls of EndSession under way
	asking int    // acquires under way
	unsure bool   // an end met an acquire: nobody can tell whether it is bound
	used   time.Duration
}

// NewPromise returns the state of a pool that has just been opened.
func NewPromise(cfg PromiseConfig) *PromiseState {
	return &PromiseState{
		cfg: cfg, sessions: map[string]*promiseSession{}, capLow: cfg.Capacity, capHigh: cfg.Capacity,
		capStep: cfg.Capacity, failedAt: -1,
	}
}

// Capacity returns the least and the most that the capacity may be now: they differ
// while a resize runs, and after one that failed.
func (s *PromiseState) Capacity() (least, most int) { return s.capLow, s.capHigh }

// Held returns the number of leases out.
func (s *PromiseState) Held() int { return s.held }

// Hooks returns the number of hooks running.
func (s *PromiseState) Hooks() int { return s.inCreate + s.inOther }

// Waiting returns the number of acquires that wait.
func (s *PromiseState) Waiting() int {
	n := 0
	for i := range s.open {
		if s.open[i].Op == PromiseAcquire {
			n++
		}
	}
	return n
}

// Closing reports whether a close has been called and, second, whether one has returned.
func (s *PromiseState) Closing() (called, returned bool) { return s.closing, s.closed }

// Failures returns the number of creates that have failed.
func (s *PromiseState) Failures() int { return s.failures }

// Observe takes the next events in and returns the first promise that they break, or nil.
// After a violation the state is of no further use.
func (s *PromiseState) Observe(events ...PromiseEvent) *PromiseViolation {
	for i := range events {
		if v := s.observe(&events[i]); v != nil {
			return v
		}
		s.still = false
	}
	return nil
}

func (s *PromiseState) observe(e *PromiseEvent) *PromiseViolation {
	switch e.Kind {
	case PromiseCallBegan:
		return s.began(e)
	case PromiseCallEnded:
		return s.ended(e)
	case PromiseCallCanceled:
		s.cancel(e)
	case PromiseCreateBegan:
		return s.createBegan(e)
	case PromiseCreateEnded:
		s.createEnded(e)
	case PromiseDestroyBegan:
		return s.destroyBegan(e)
	case PromiseDestroyEnded:
		s.destroyEnded(e)
	case PromiseCheckBegan:
		return s.checkBegan(e)
	case PromiseCheckEnded:
		s.inOther--
		if r := s.resource(e.Resource); r != nil {
			r.checking--
		}
	case PromiseMisuse:
		return promiseMisused(e)
	}
	return nil
}

// promiseMisused says what is wrong with how a resource was used, or with what was reported.
func promiseMisused(e *PromiseEvent) *PromiseViolation {
	switch {
	case e.Failed:
		return promiseBroken("livelock", "%s", e.Text)
	case e.Resource == 0:
		return promiseBroken("report", "%s", e.Text)
	}
	return promiseBroken("I3", "resource %d: %s", e.Resource, e.Text)
}

// resource returns the resource with that ID, or nil.
func (s *PromiseState) resource(id uint64) *promiseResource {
	if id == 0 || id > uint64(len(s.resources)) {
		return nil
	}
	return &s.resources[id-1]
}

func (s *PromiseState) session(name string) *promiseSession {
	x := s.sessions[name]
	if x == nil {
		x = &promiseSession{}
		s.sessions[name] = x
	}
	return x
}

// cancel notes that the context of an open call has ended.
func (s *PromiseState) cancel(e *PromiseEvent) {
	for i := range s.open {
		if s.open[i].Call == e.Call {
			s.open[i].cancelled = true
			s.forced = s.forced || s.open[i].Op == PromiseShutdown
		}
	}
}

// maxAlive returns how many resources may be alive now, at most.
func (s *PromiseState) maxAlive() (int, bool) {
	limit := s.cfg.Spec.MaxAlive
	switch {
	case limit < 0:
		return 0, false
	case limit == 0:
		return s.capStep, true
	}
	return max(limit, limit+s.capStep-s.cfg.Capacity), true
}

func (s *PromiseState) createBegan(e *PromiseEvent) *PromiseViolation {
	if e.Resource != uint64(len(s.resources))+1 {
		return promiseBroken("books", "create %d follows create %d", e.Resource, len(s.resources))
	}
	s.resources = append(s.resources, promiseResource{id: e.Resource, born: s.resetsBegun})
	s.inCreate++
	s.creates++
	limit, bounded := s.maxAlive()
	if bounded && s.alive >= limit && !s.cfg.Spec.DestroyFreesEarly { // else judged at rest
		return promiseBroken("I2", "resource %d is created while %d are alive, of at most %d", e.Resource, s.alive, limit)
	}
	s.alive++
	return nil
}

func (s *PromiseState) createEnded(e *PromiseEvent) {
	r := s.resource(e.Resource)
	s.inCreate--
	if e.Failed {
		r.phase = promiseFailed
		s.alive--
		s.failures++
		s.failedAt = e.At
		return
	}
	r.phase = promiseAlive
	r.createdAt, r.createdRest = e.At, s.rests
	r.idleAt, r.idleIn = e.At, s.rests
}

func (s *PromiseState) destroyBegan(e *PromiseEvent) *PromiseViolation {
	r := s.resource(e.Resource)
	s.inOther++
	switch {
	case r == nil || r.phase == promiseCreating || r.phase == promiseFailed:
		return promiseBroken("I3", "a resource that was never created is destroyed")
	case r.phase != promiseAlive && s.cfg.Spec.DestroyTwice:
		return nil
	case r.phase != promiseAlive:
		return promiseBroken("I3", "resource %d is destroyed twice", r.id)
	case r.holder != 0 && !s.forced:
		return promiseBroken("I1", "resource %d is destroyed under its holder", r.id)
	}
	r.phase = promiseDestroying
	if s.cfg.Spec.DestroyFreesEarly {
		s.alive--
	}
	return nil
}

func (s *PromiseState) destroyEnded(e *PromiseEvent) {
	s.inOther--
	r := s.resource(e.Resource)
	if r == nil || r.phase != promiseDestroying {
		return
	}
	r.phase = promiseGone
	if !s.cfg.Spec.DestroyFreesEarly {
		s.alive--
	}
}

func (s *PromiseState) checkBegan(e *PromiseEvent) *PromiseViolation {
	s.inOther++
	r := s.resource(e.Resource)
	if r == nil || r.phase == promiseGone {
		return promiseBroken("I3", "resource %d is checked after it was destroyed", e.Resource)
	}
	r.checking++
	r.checkAt = e.At
	return nil
}

// take removes the open call that e ends and returns it.
func (s *PromiseState) take(e *PromiseEvent) promiseCall {
	i := slices.IndexFunc(s.open, func(c promiseCall) bool { return c.Call == e.Call })
	c := s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	return c
}
