package model

import (
	"fmt"
	"slices"
	"strings"
)

// Key is an abstract state, what [Coverage] distinguishes:
//
//   - the multiset of workers, each with its phase and 0, 1 or more bindings;
//   - 0, 1 or more waiters that are anonymous, of an unbound and of a bound session;
//   - 0, 1 or more sessions that are bound, and that are lost;
//   - no back-off, a running and a half-open one; open, closing or closed.
type Key uint64

// The places of the fields in a Key: five bits for each worker, two for each of the others.
const (
	keyWorkers   = 0
	keyAnonymous = 5 * MaxWorkerSlots
	keyUnbound   = keyAnonymous + 2
	keyWaitBound = keyUnbound + 2
	keyBound     = keyWaitBound + 2
	keyLost      = keyBound + 2
	keyBackoff   = keyLost + 2
	keyClosing   = keyBackoff + 2
)

// many is what counts of two and more are in a Key.
const many = 2

// Abstract returns the abstract state of s.
func Abstract(_ *Config, s *State) Key {
	var classes [MaxWorkerSlots]Key
	for i := range s.live {
		w := &s.workers[i]
		// A stopping worker has no bindings, so that the highest class is 9*3 < 32.
		class := 3*Key(w.phase) + Key(min(w.bindings, many))
		j := i
		for ; j > 0 && classes[j-1] < class; j-- {
			classes[j] = classes[j-1]
		}
		classes[j] = class
	}
	k := Key(0)
	for i, class := range classes {
		k |= class << (keyWorkers + 5*i)
	}
	var waiters, sessions [3]Key
	for _, c := range s.queue[:s.waiting] {
		waiters[s.kind(s.clients[c].session)]++
	}
	for _, e := range s.sessions {
		if e.status >= sessionBound {
			sessions[e.status-sessionBound]++
		}
	}
	for i := range waiters {
		k |= min(waiters[i], many) << (keyAnonymous + 2*i)
	}
	k |= min(sessions[0], many)<<keyBound | min(sessions[1], many)<<keyLost
	switch {
	case s.backoff > 0:
		k |= 1 << keyBackoff
	case s.delay > 0:
		k |= 2 << keyBackoff
	}
	return k | Key(s.closing)<<keyClosing
}

// kind says what an acquire for id is: 0 anonymous, 1 of an unbound session, 2 of a bound one.
func (s *State) kind(id Session) int {
	switch {
	case id == 0:
		return 0
	case s.isBound(id):
		return 2
	}
	return 1
}

// String writes the abstract state on one line, such as
//
//	open, idle+1 starting, waiters: 2+ anonymous, sessions: 1 bound
func (k Key) String() string {
	field := func(place int) int { return int(k >> place & 3) }
	parts := []string{closingNames[field(keyClosing)]}
	var workers []string
	for i := range MaxWorkerSlots {
		class := int(k >> (keyWorkers + 5*i) & 31)
		if class == 0 {
			continue
		}
		text := phaseNames[class/3]
		if bindings := class % 3; bindings > 0 {
			text += "+" + countText(bindings)
		}
		workers = append(workers, text)
	}
	slices.Reverse(workers)
	parts = append(parts, workers...)
	list := func(title string, names []string, places ...int) {
		var texts []string
		for i, place := range places {
			if n := field(place); n > 0 {
				texts = append(texts, countText(n)+" "+names[i])
			}
		}
		if len(texts) > 0 {
			parts = append(parts, title+": "+strings.Join(texts, " and "))
		}
	}
	list("waiters", []string{"anonymous", "unbound", "bound"}, keyAnonymous, keyUnbound, keyWaitBound)
	list("sessions", []string{"bound", "lost"}, keyBound, keyLost)
	if b := field(keyBackoff); b > 0 {
		parts = append(parts, [...]string{"", "back-off", "half-open"}[b])
	}
	return strings.Join(parts, ", ")
}

func countText(n int) string {
	if n >= many {
		return "2+"
	}
	return fmt.Sprint(n)
}

// OpClass is a kind of operation with the role of whom it concerns, such as "acquire bound".
type OpClass struct {
	Kind OpKind
	role role
}

// role is what an operation finds.
type role uint8

const (
	roleNone role = iota
	roleAnonymous
	roleUnknown
	roleUnbound
	roleBound
	roleLost
	roleLeased
	roleRetired
	roleRevoked
	roleSmaller
	roleLarger
	roleCancelled
	rolePhase // and the phases from here
)

var roleNames = [...]string{
	"", "anonymous", "unknown", "unbound", "bound", "lost", "leased", "retired", "revoked", "smaller", "larger", "cancelled",
}

// String writes the class on one line.
func (c OpClass) String() string {
	text := c.Kind.String()
	switch {
	case c.role >= rolePhase:
		text += " " + phaseNames[c.role-rolePhase]
	case c.role != roleNone:
		text += " " + roleNames[c.role]
	}
	return text
}

// ClassOf returns the class of op in s.
func ClassOf(s *State, op Op) OpClass {
	c := OpClass{Kind: op.Kind}
	switch op.Kind {
	case OpAcquire, OpTry, OpEndSession:
		c.role = s.sessionRole(op.Session)
	case OpCancel:
		c.role = [...]role{roleAnonymous, roleUnbound, roleBound}[s.kind(s.clients[op.Client-1].session)]
	case OpRelease, OpReleaseUnusable, OpDiscard:
		c.role = roleRevoked
		if cl := &s.clients[op.Client-1]; cl.phase == clientHolding {
			c.role = roleLeased
			if s.workers[cl.worker].flags&flagRetired != 0 {
				c.role = roleRetired
			}
		}
	case OpResize:
		switch {
		case op.Max < s.most:
			c.role = roleSmaller
		case op.Max > s.most:
			c.role = roleLarger
		}
	case OpRetire, OpStarted, OpStartFailed, OpChecked, OpCheckFailed, OpTold, OpTellFailed:
		if slot, ok := s.slot(op.Worker); ok {
			c.role = s.workers[slot].role()
		}
	}
	return c
}

func (s *State) sessionRole(id Session) role {
	if id == 0 {
		return roleAnonymous
	}
	return [...]role{roleUnknown, roleUnbound, roleBound, roleLost}[s.session(id).status]
}

func (w *worker) role() role {
	switch {
	case w.flags&flagRetired != 0:
		return roleRetired
	case w.flags&flagCancelled != 0:
		return roleCancelled
	}
	return rolePhase + role(w.phase)
}
