package linearize

import (
	"math"
	"strings"
	"testing"
)

// TestExtremeNumbers: times that could not be reckoned with are no history, and a capacity
// that no worker's number reaches is one like any other.
func TestExtremeNumbers(t *testing.T) {
	t.Parallel()
	twice := func() *History {
		return &History{Head: Head{Config: Config{Capacity: 1}}, Ops: []Op{
			{ID: 1, Client: 1, Kind: Resize, Outcome: Done, Max: math.MaxInt, Call: 1, Return: 2},
			{ID: 2, Client: 1, Kind: Acquire, Outcome: Granted, Worker: 1, Call: 3, Return: 4},
			{ID: 3, Client: 2, Kind: Acquire, Outcome: Granted, Worker: 2, Call: 5, Return: latest},
		}}
	}
	if v := Judge(t.Context(), twice(), Budget{}); v.Result != Ok {
		t.Errorf("a large capacity and a late return: %s, want ok", &v)
	}
	for _, edit := range []func(h *History){
		func(h *History) { h.Ops[2].Return = forever },
		func(h *History) { h.Ops[1].Parked = forever },
		func(h *History) { h.Head.Config.SessionTTL = forever },
		func(h *History) { h.Changes = []Change{{Seq: 1, Kind: Resized, At: forever}} },
		func(h *History) { h.Faults = []Fault{{Kind: "kill", To: forever}} },
	} {
		h := twice()
		edit(h)
		if v := Judge(t.Context(), h, Budget{}); v.Result != Unknown || v.Judge != "form" || !strings.Contains(v.Text, "beyond") {
			t.Errorf("a time without end: %s, want unknown by its form", &v)
		}
	}
}
