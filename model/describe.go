package model

import (
	"fmt"
	"strings"
)

var phaseNames = [...]string{
	phaseStarting:    "starting",
	phaseIdle:        "idle",
	phaseLeased:      "leased",
	phaseChecking:    "checking",
	phaseTelling:     "telling",
	phaseEndingStart: "ending its start",
	phaseEndingCheck: "ending its check",
	phaseEndingTell:  "ending its tell",
	phaseStopping:    "stopping",
}

var sessionStatusNames = [...]string{
	sessionUnknown: "unknown", sessionUnbound: "unbound", sessionBound: "bound", sessionLost: "lost",
}

var closingNames = [...]string{closingNot: "open", closingBegun: "closing", closingReturns: "closed"}

// String writes the state on one line: the bounds, then workers, sessions and queue.
func (s *State) String() string {
	parts := []string{fmt.Sprintf("%s size %d-%d", closingNames[s.closing], s.least, s.most)}
	if s.grace > 0 {
		parts[0] += fmt.Sprintf(" grace %d", s.grace)
	}
	switch {
	case s.backoff > 0:
		parts = append(parts, fmt.Sprintf("back-off %d of %d", s.backoff, s.delay))
	case s.delay > 0:
		parts = append(parts, fmt.Sprintf("half-open after %d", s.delay))
	}
	for i := range s.live {
		parts = append(parts, s.describeWorker(i))
	}
	for i, e := range s.sessions {
		if e.status == sessionUnknown {
			continue
		}
		text := fmt.Sprintf("session %v %s", Session(i+1), sessionStatusNames[e.status])
		if e.status == sessionBound {
			text += fmt.Sprintf(" to worker %d", s.workers[e.worker].id)
		}
		parts = append(parts, text+times("ends in", e.ttl))
	}
	for _, c := range s.queue[:s.waiting] {
		text := fmt.Sprintf("client %d waits", c+1)
		if id := s.clients[c].session; id != 0 {
			text += fmt.Sprintf(" for session %v", id)
		}
		parts = append(parts, text+times("at most", s.clients[c].wait))
	}
	for i := range s.clients {
		if s.clients[i].phase == clientRevoked {
			parts = append(parts, fmt.Sprintf("client %d holds a revoked lease", i+1))
		}
	}
	return strings.Join(parts, "; ")
}

func (s *State) describeWorker(slot uint8) string {
	w := &s.workers[slot]
	text := fmt.Sprintf("worker %d %s", w.id, phaseNames[w.phase])
	if w.holder != 0 {
		text += fmt.Sprintf(" by client %d", w.holder)
		if id := s.clients[w.holder-1].session; id != 0 {
			text += fmt.Sprintf(" for session %v", id)
		}
	}
	for i, name := range [...]string{"retired", "of an earlier epoch", "check due", "cancelled"} {
		if w.flags>>i&1 != 0 {
			text += ", " + name
		}
	}
	text += times("times out in", w.start) + times("lives", w.life) + times("unused for", w.idle) + times("check in", w.check)
	if w.leases > 0 {
		text += fmt.Sprintf(", %d leases", w.leases)
	}
	if w.failures > 0 {
		text += fmt.Sprintf(", %d failures", w.failures)
	}
	for d := w.debts; d != 0; d >>= 4 {
		text += fmt.Sprintf(", owes %v", d.first())
	}
	return text
}

func times(what string, ticks uint8) string {
	if ticks == 0 {
		return ""
	}
	return fmt.Sprintf(", %s %d", what, ticks)
}
