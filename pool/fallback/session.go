package fallback

import (
	"time"

	"github.com/poolproof/poolproof/pool"
)

// none is the layer of a session that is bound to none.
const none = -1

// session is what the chain knows of one session: the only record of its binding. It is
// guarded by Chain.mu.
type session struct {
	id     pool.SessionID
	layer  int    // that it is bound to; none
	epoch  uint64 // counts the changes of layer
	calls  int    // that are looking for a lease
	visits int    // of these, calls that are asking a pool
	leases int    // that are out, of this epoch
	places []place

	known      bool // it counts towards MaxSessions
	rest       time.Time
	resting    bool // it is in the table's list
	prev, next *session
}

// place is what the chain knows of a session in one layer. What the layer's pool binds
// there is a function of its own calls; so that it never keeps a binding which the chain
// does not know of, the pool is told EndSession whenever it might have one.
//
// A place that the session has left is shut to its calls while the pool is being told. A
// grant of a call that was let in before may be of the old binding or of a new one: it is
// given back, and spoils the place. A spoilt place stays shut until every call that was let
// in is out, and the pool has been told once more; so nobody spoils it again.
type place struct {
	visits  int           // calls that were let in, and are not out
	tells   uint64        // how often the pool has been told, or began to be
	telling bool          // it is being told
	spoilt  bool          // it must be told, when nobody is in
	shut    chan struct{} // while telling or spoilt; closed afterwards
}

// tell is an EndSession that is to be passed on, without the lock.
type tell struct {
	s     *session
	layer int
}

// table holds the sessions. It is guarded by Chain.mu.
type table struct {
	ttl         time.Duration
	sessions    map[pool.SessionID]*session
	known       int
	first, last *session // at rest, in the order in which they came to rest
	tells       []tell   // to be carried out
}

// expire ends the bindings of the sessions whose time is over.
func (t *table) expire(now time.Time) {
	for t.ttl > 0 && t.first != nil && now.Sub(t.first.rest) >= t.ttl {
		t.end(t.first, now)
	}
}

// enter returns the session of a call that begins, or nil if there are most already; zero
// is no limit.
func (t *table) enter(id pool.SessionID, layers, most int, now time.Time) *session {
	s := t.sessions[id]
	if (s == nil || !s.known) && most > 0 && t.known >= most {
		return nil
	}
	if s == nil {
		s = &session{id: id, layer: none, places: make([]place, layers)}
		t.sessions[id] = s
	}
	s.calls++
	t.settle(s, now)
	return s
}

// bind binds s to a layer, and reports which one it was bound to.
func (t *table) bind(s *session, layer int, now time.Time) (from int) {
	from = s.layer
	s.layer = layer
	s.epoch++
	s.leases = 0
	if from != none {
		t.tell(s, from) // which is open: a session cannot be bound to a place that is shut
	}
	t.settle(s, now)
	return from
}

// end ends the binding of s.
func (t *table) end(s *session, now time.Time) {
	if s.layer != none {
		t.bind(s, none, now)
	}
}

// spoil shuts a place whose pool may have a binding of s that s has not.
func (t *table) spoil(s *session, layer int) {
	p := &s.places[layer]
	p.spoilt = true
	if p.shut == nil {
		p.shut = make(chan struct{})
	}
}

// tell begins to tell a pool.
func (t *table) tell(s *session, layer int) {
	p := &s.places[layer]
	if p.shut == nil {
		p.shut = make(chan struct{})
	}
	p.telling, p.spoilt = true, false
	p.tells++
	t.tells = append(t.tells, tell{s, layer})
}

// told ends a tell.
func (t *table) told(x tell, now time.Time) {
	x.s.places[x.layer].telling = false
	t.settle(x.s, now)
}

// reopen opens what need not be shut any more, and reports whether anything still is.
func (t *table) reopen(s *session) (shut bool) {
	for layer := range s.places {
		p := &s.places[layer]
		switch {
		case p.shut == nil:
			continue
		case !p.telling && p.spoilt && p.visits == 0:
			t.tell(s, layer)
		case !p.telling && !p.spoilt:
			close(p.shut)
			p.shut = nil
			continue
		}
		shut = true
	}
	return shut
}

// settle brings what follows from the state of s up to date: whether it is at rest, which
// places are shut, and whether it must be remembered.
func (t *table) settle(s *session, now time.Time) {
	if resting := s.layer != none && s.visits == 0 && s.leases == 0; resting != s.resting {
		s.resting = resting
		if resting {
			s.rest = now
			t.push(s)
		} else {
			t.remove(s)
		}
	}
	shut := t.reopen(s)
	known := s.layer != none || s.calls > 0
	if known != s.known {
		s.known = known
		if known {
			t.known++
		} else {
			t.known--
		}
	}
	if !known && !shut {
		delete(t.sessions, s.id)
	}
}

func (t *table) push(s *session) {
	s.prev, s.next = t.last, nil
	if t.last != nil {
		t.last.next = s
	} else {
		t.first = s
	}
	t.last = s
}

func (t *table) remove(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		t.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		t.last = s.prev
	}
	s.prev, s.next = nil, nil
}
