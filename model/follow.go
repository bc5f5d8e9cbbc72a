package model

import (
	"fmt"
	"slices"
	"strings"
)

// Mismatch says that what was seen fits no state in which the pool could have been.
type Mismatch struct {
	Op       Op
	Seen     []Event
	Expected [][]Event // what each possibility would have shown
	Rules    []string  // the promises that this seems to break, such as "I5"
	From     []State   // where the pool could have been before
}

// Error tells the operation, what was seen, and how each possibility differs.
func (m *Mismatch) Error() string {
	var b strings.Builder
	b.WriteString("model: ")
	if len(m.Rules) > 0 {
		fmt.Fprintf(&b, "%s: ", strings.Join(m.Rules, ", "))
	}
	fmt.Fprintf(&b, "%v\n----\n", m.Op)
	writeEvents(&b, "", m.Seen)
	if len(m.Expected) == 0 {
		b.WriteString("---- the operation is not possible\n")
	}
	for i, want := range m.Expected {
		fmt.Fprintf(&b, "---- possibility %d of %d would show\n", i+1, len(m.Expected))
		missing, surplus := differ(want, m.Seen)
		for _, e := range want {
			if slices.Contains(missing, e) {
				fmt.Fprintf(&b, "+ %v   (not seen)\n", e)
			} else {
				fmt.Fprintf(&b, "  %v\n", e)
			}
		}
		for _, e := range surplus {
			fmt.Fprintf(&b, "- %v   (seen)\n", e)
		}
		if len(want)+len(surplus) == 0 {
			b.WriteString("  nothing\n")
		}
	}
	for _, s := range m.From {
		fmt.Fprintf(&b, "---- before: %v\n", &s)
	}
	return b.String()
}

func writeEvents(b *strings.Builder, indent string, events []Event) {
	if len(events) == 0 {
		fmt.Fprintf(b, "%snothing\n", indent)
	}
	for _, e := range events {
		fmt.Fprintf(b, "%s%v\n", indent, e)
	}
}

// Follow returns the states in which the pool can be after op, each once, given those in
// which it could be before and what was seen, in any order. If there is none, err says why.
func Follow(cfg *Config, from []State, op Op, seen []Event) (to []State, err *Mismatch) {
	events, known := EventsOf(seen...)
	var nexts []Next
	for i := range from {
		nexts = AppendStep(nexts, cfg, &from[i], op)
	}
	for i := range nexts {
		if known && nexts[i].Events == events && !slices.Contains(to, nexts[i].State) {
			to = append(to, nexts[i].State)
		}
	}
	if len(to) > 0 {
		return to, nil
	}
	return nil, mismatch(cfg, from, op, seen, nexts)
}

func mismatch(cfg *Config, from []State, op Op, seen []Event, nexts []Next) *Mismatch {
	m := &Mismatch{Op: op, Seen: sorted(seen), From: from}
	for i := range nexts {
		want := nexts[i].Events.All()
		if !slices.ContainsFunc(m.Expected, func(other []Event) bool { return slices.Equal(want, other) }) {
			m.Expected = append(m.Expected, want)
		}
	}
	// The possibility that differs least is the one to explain.
	slices.SortStableFunc(m.Expected, func(a, b []Event) int { return distance(a, m.Seen) - distance(b, m.Seen) })
	if len(m.Expected) > 0 {
		m.Rules = rulesBroken(cfg, op, m.Expected[0], m.Seen)
	}
	return m
}

func sorted(events []Event) []Event {
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b Event) int { return int(int64(packEvent(a)) - int64(packEvent(b))) })
	return events
}

// differ returns what of want was not seen, and what was seen beyond it.
func differ(want, seen []Event) (missing, surplus []Event) {
	surplus = slices.Clone(seen)
	for _, e := range want {
		if i := slices.Index(surplus, e); i >= 0 {
			surplus = slices.Delete(surplus, i, i+1)
		} else {
			missing = append(missing, e)
		}
	}
	return missing, surplus
}

func distance(want, seen []Event) int {
	missing, surplus := differ(want, seen)
	return len(missing) + len(surplus)
}
