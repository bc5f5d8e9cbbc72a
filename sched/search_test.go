package sched

import (
	"strings"
	"testing"
)

// A search through no schedules is refused: it would find nothing.
func TestSearchesWantRuns(t *testing.T) {
	body := func(*Scheduler) error { return nil }
	for name, search := range map[string]func(){
		"Explore": func() { Explore(t, Options{}, 0, Random(1), body) },
		"Exhaust": func() { Exhaust(t, Options{}, 1, -1, body) },
	} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.HasPrefix(p, "sched: "+name+" is asked for") {
					t.Errorf("%s: got the panic %q, want one that says what is wrong", name, p)
				}
			}()
			search()
		}()
	}
}
