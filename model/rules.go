package model

import (
	"slices"
	"strings"
)

// rulesBroken tells, as far as that can be told from the kinds of the differences, which
// promises an implementation broke that showed seen instead of want after op.
func rulesBroken(cfg *Config, op Op, want, seen []Event) []string {
	missing, surplus := differ(want, seen)
	var rules []string
	for _, e := range missing {
		rules = append(rules, rulesMissing(op, e, surplus)...)
	}
	for _, e := range surplus {
		rules = append(rules, rulesSurplus(cfg, op, e, missing)...)
	}
	slices.SortFunc(rules, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(rules)
}

// rulesMissing returns the promises that the lack of an event breaks.
func rulesMissing(op Op, e Event, surplus []Event) []string {
	switch e.Kind {
	case EvGranted:
		switch _, other := outcome(surplus, e.Client); {
		case other:
			return nil // what came instead tells more
		case slices.ContainsFunc(surplus, func(s Event) bool { return s.Kind == EvGranted && s.Worker == e.Worker }):
			return []string{"I7"}
		case op.Kind == OpCancel:
			return []string{"I6"}
		}
		return []string{"I5"}
	case EvRefused:
		if _, other := outcome(surplus, e.Client); other {
			return nil
		}
		return append([]string{"I4"}, rulesOfReason(e.Reason)...)
	case EvStartBegun:
		return []string{"I5"}
	case EvStartCancelled:
		return []string{"I11"}
	case EvStopBegun:
		return rulesOfStop(op)
	}
	return rulesOfHook(e.Kind)
}

// rulesSurplus returns the promises that an unexpected event breaks.
func rulesSurplus(cfg *Config, op Op, e Event, missing []Event) []string {
	switch e.Kind {
	case EvGranted:
		return rulesOfGrant(cfg, e, missing)
	case EvRefused:
		switch want, ok := outcome(missing, e.Client); {
		case ok && want.Kind == EvGranted:
			return []string{"I5"}
		case ok:
			return []string{"I7"}
		}
		return rulesOfReason(e.Reason)
	case EvStartBegun:
		return []string{"I2", "I5"}
	case EvStartCancelled:
		return []string{"I6"}
	case EvStopBegun:
		return rulesOfStop(op)
	}
	return rulesOfHook(e.Kind)
}

// rulesOfGrant returns the promises that an unexpected grant breaks.
func rulesOfGrant(cfg *Config, e Event, missing []Event) []string {
	want, ok := outcome(missing, e.Client)
	switch {
	case ok && want.Kind == EvRefused:
		return rulesOfReason(want.Reason)
	case ok && want.Worker == e.Worker: // then Fresh differs
		return []string{"I8"}
	case ok && (want.Fresh || e.Fresh || cfg.Sessions > 0):
		return []string{"I8"}
	case ok:
		return []string{"I7"}
	case slices.ContainsFunc(missing, func(m Event) bool { return m.Kind == EvGranted && m.Worker == e.Worker }):
		return []string{"I7"}
	case slices.ContainsFunc(missing, func(m Event) bool { return m.Kind == EvStopBegun && m.Worker == e.Worker }):
		return []string{"I3", "I17"}
	}
	return []string{"I1", "I3"}
}

// outcome finds how the call of a client ended.
func outcome(events []Event, c Client) (Event, bool) {
	for _, e := range events {
		if e.Client == c && (e.Kind == EvGranted || e.Kind == EvRefused) {
			return e, true
		}
	}
	return Event{}, false
}

func rulesOfReason(r Reason) []string {
	switch r {
	case ReasonCancelled:
		return []string{"I6"}
	case ReasonClosed, ReasonForced:
		return []string{"I13"}
	case ReasonLost:
		return []string{"I8"}
	case ReasonLimit:
		return []string{"I9"}
	case ReasonStartFailed:
		return []string{"I10"}
	case ReasonSaturated, ReasonNotAvailable:
		return []string{"I7"}
	}
	return []string{"I4"}
}

func rulesOfStop(op Op) []string {
	switch op.Kind {
	case OpClose, OpForce:
		return []string{"I13"}
	case OpResize, OpRetire:
		return []string{"I16"}
	case OpChecked, OpCheckFailed:
		return []string{"I12"}
	case OpRelease, OpTick:
		return []string{"I17"}
	}
	return []string{"I3"}
}

func rulesOfHook(k EventKind) []string {
	switch k {
	case EvCheckBegun, EvCheckCancelled:
		return []string{"I12"}
	case EvTellBegun, EvTellCancelled:
		return []string{"I9"}
	}
	return []string{"I13"}
}
