package model

// State is a state of the modelled pool and of those who use it. States are values: they
// can be compared and copied. Times are ticks left; what is over, or irrelevant to what
// can follow, is zero.
type State struct {
	workers  [MaxWorkerSlots]worker // the live ones, in the order in which they began
	sessions [MaxSessionSlots]session
	clients  [MaxClientSlots]client
	queue    [MaxClientSlots]uint8 // slots of the waiting clients, in order of arrival

	live    uint8
	waiting uint8
	began   Worker // number of starts so far

	least, most uint8

	delay   uint8 // how long the current back-off runs; 0: there is none
	backoff uint8 // ticks left of it; 0 with a delay: half-open

	closing closing
	grace   uint8 // ticks left until closing ends although workers are live
	revoked bool  // a Shutdown has revoked leases
}

// worker is a live worker. A stopping one has no other fields than id and phase.
type worker struct {
	id       Worker
	phase    phase
	flags    flags
	bindings uint8
	holder   uint8 // slot of the leaseholder, plus 1
	leases   uint8 // counted up to MaxLeases
	failures uint8
	start    uint8 // ticks left until the start times out
	life     uint8 // ticks left until the worker is past
	idle     uint8 // ticks without bindings and lease
	check    uint8 // ticks left until a check is due
	debts    debts
}

// phase is what a worker does:
//
//	starting -> idle <-> leased, checking, telling -> stopping -> gone
//
// and the three in which a worker that stops awaits a cancelled hook first.
type phase uint8

const (
	phaseStarting phase = iota + 1
	phaseIdle
	phaseLeased
	phaseChecking
	phaseTelling
	phaseEndingStart
	phaseEndingCheck
	phaseEndingTell
	phaseStopping
)

// present says that a worker is in the pool: live and not on its way out.
func (p phase) present() bool { return p <= phaseTelling }

type flags uint8

const (
	flagRetired   flags = 1 << iota // reported dead while leased
	flagOld                         // its start began in an earlier back-off epoch
	flagDue                         // a check is due
	flagCancelled                   // its check is cancelled
)

// debts are the sessions whose end a worker is still to be told, oldest first and 4 bits
// each; while telling, the first is the one that it is being told.
type debts uint16

func (d debts) first() Session { return Session(d & 15) }

func (d debts) with(s Session) debts {
	for shift := 0; ; shift += 4 {
		if d>>shift&15 == 0 {
			return d | debts(s)<<shift
		}
	}
}

func (d debts) count() uint8 {
	var n uint8
	for ; d != 0; d >>= 4 {
		n++
	}
	return n
}

// session is an entry of the session table; the zero value is an unknown session.
type session struct {
	status sessionStatus
	worker uint8 // slot, if bound
	ttl    uint8 // ticks left until it ends
}

type sessionStatus uint8

const (
	sessionUnknown sessionStatus = iota
	sessionUnbound
	sessionBound
	sessionLost
)

// client is a caller; the zero value is one that neither waits nor holds a lease.
type client struct {
	phase   clientPhase
	session Session // waiting: whose worker it wants. Holding: the one that counts this lease
	worker  uint8   // slot, while holding
	wait    uint8   // ticks left until its acquire times out
}

type clientPhase uint8

const (
	clientOut clientPhase = iota
	clientWaiting
	clientHolding
	clientRevoked
)

type closing uint8

const (
	closingNot     closing = iota
	closingBegun           // Close or Shutdown has begun
	closingReturns         // and returns at once from now on
)

// dueNow is a deadline that has been reached and not been served, within one tick.
const dueNow = 255

// Closing says that a Close or Shutdown has begun.
func (s *State) Closing() bool { return s.closing != closingNot }

// count returns the number of workers in the given phase.
func (s *State) count(p phase) int {
	n := 0
	for i := range s.live {
		if s.workers[i].phase == p {
			n++
		}
	}
	return n
}

// present returns the number of workers in the pool.
func (s *State) present() int {
	n := 0
	for i := range s.live {
		if s.workers[i].phase.present() {
			n++
		}
	}
	return n
}

// known returns the number of sessions in the table.
func (s *State) known() int {
	n := 0
	for i := range s.sessions {
		if s.sessions[i].status != sessionUnknown {
			n++
		}
	}
	return n
}

// session returns the entry of id, which is not 0.
func (s *State) session(id Session) *session { return &s.sessions[id-1] }

// isBound says that id is a session with a worker.
func (s *State) isBound(id Session) bool { return id != 0 && s.session(id).status == sessionBound }

// hasWaiter says that a waiter of session id is parked.
func (s *State) hasWaiter(id Session) bool {
	for _, c := range s.queue[:s.waiting] {
		if s.clients[c].session == id {
			return true
		}
	}
	return false
}

// hasLease says that a lease counts for session id.
func (s *State) hasLease(id Session) bool {
	for i := range s.live {
		if h := s.workers[i].holder; h != 0 && s.clients[h-1].session == id {
			return true
		}
	}
	return false
}

// leasesOut returns the number of leases that have not been revoked.
func (s *State) leasesOut() int { return s.count(phaseLeased) }

// slot returns the slot of the worker numbered id.
func (s *State) slot(id Worker) (slot uint8, ok bool) {
	for i := range s.live {
		if s.workers[i].id == id {
			return i, true
		}
	}
	return 0, false
}

// past says that a worker has reached its lifetime or its number of leases.
func (s *State) past(cfg *Config, w *worker) bool {
	return cfg.MaxLifetime > 0 && w.life == 0 || cfg.MaxLeases > 0 && int(w.leases) >= cfg.MaxLeases
}

// mayUse says that, as far as limits and bindings go, an acquire for id may use the
// worker in a slot, which is present and not starting.
func (s *State) mayUse(cfg *Config, id Session, slot uint8) bool {
	w := &s.workers[slot]
	if w.flags&flagRetired != 0 {
		return false
	}
	isBound := s.isBound(id)
	own := isBound && s.session(id).worker == slot
	if own && cfg.Affinity == Strict {
		return true
	}
	switch {
	case s.past(cfg, w):
		return false
	case id == 0 || own:
		return true
	case isBound && cfg.Affinity != Prefer:
		return false
	}
	return cfg.MaxSessionsPerWorker == 0 || int(w.bindings) < cfg.MaxSessionsPerWorker
}

// couldServe says that some live worker could ever serve an acquire for id.
func (s *State) couldServe(cfg *Config, id Session) bool {
	if s.isBound(id) {
		return true
	}
	for i := range s.live {
		w := &s.workers[i]
		switch {
		case w.phase == phaseStarting:
			return true
		case w.phase.present() && w.flags&flagRetired == 0 && !s.past(cfg, w):
			return true
		}
	}
	return false
}
