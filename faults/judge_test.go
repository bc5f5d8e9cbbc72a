package faults

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// TestDue: calls are due where the integral of the rate says so.
func TestDue(t *testing.T) {
	for _, c := range []struct {
		rates  []float64
		during time.Duration
		calls  int
		first  []time.Duration
	}{
		{[]float64{10, 10}, time.Second, 10, []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond}},
		{[]float64{10, 30}, time.Second, 20, []time.Duration{0}},
		{[]float64{30, 10}, time.Second, 20, []time.Duration{0}},
		{[]float64{10, 20, 10}, 2 * time.Second, 30, []time.Duration{0}},
	} {
		r := ramp{c.rates, c.during}
		n, last := 0, time.Duration(-1)
		for ; r.due(n) < c.during; n++ {
			if at := r.due(n); at <= last {
				t.Errorf("%v: call %d is due at %v, the one before it at %v", c.rates, n, at, last)
			} else if n < len(c.first) && at != c.first[n] {
				t.Errorf("%v: call %d is due at %v, want %v", c.rates, n, at, c.first[n])
			}
			last = r.due(n)
		}
		if n != c.calls {
			t.Errorf("%v: %d calls in %v, want %d", c.rates, n, c.during, c.calls)
		}
	}
}

// TestQuantile: a quantile is the smallest value that so large a share does not exceed.
func TestQuantile(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration(1000-i))
	}
	if got, want := latencyOf(all), (Latency{P50: 500, P90: 900, P99: 990, P999: 999, Max: 1000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := latencyOf(nil); got != (Latency{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

// TestShare: capacity is the mean over time of what was there.
func TestShare(t *testing.T) {
	moves := []move{{0, 2}, {time.Second, 1}, {2 * time.Second, 2}}
	for _, c := range []struct {
		from, to time.Duration
		want     float64
	}{{0, time.Second, 1}, {0, 2 * time.Second, 0.75}, {time.Second, 2 * time.Second, 0.5}, {1500 * time.Millisecond, 2500 * time.Millisecond, 0.75}, {3 * time.Second, 4 * time.Second, 1}} {
		if got := share(moves, 2, c.from, c.to); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("from %v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// TestAnswers: a call that was answered twice, or never, is found.
func TestAnswers(t *testing.T) {
	for want, calls := range map[string][]Call{
		"of 2 calls 1 were not answered, and 0 more": {{Number: 0}},
		"of 2 calls 0 were not answered, and 1 more": {{Number: 0}, {Number: 1}, {Number: 1}},
		"of 2 calls 1 were not answered, and 1 more": {{Number: 1}, {Number: 1}},
	} {
		r := new(Report)
		if r.answers(2); len(r.Findings) != 1 || !strings.Contains(r.Findings[0], "of 2 calls 2") {
			t.Errorf("of no answers: %q", r.Findings)
		}
		r = &Report{Calls: calls}
		if r.answers(2); len(r.Findings) != 1 || !strings.Contains(r.Findings[0], want) {
			t.Errorf("got %q, want %q", r.Findings, want)
		}
	}
	r := &Report{Calls: []Call{{Number: 1}, {Number: 0}}}
	if r.answers(2); len(r.Findings) != 0 {
		t.Errorf("of one answer each: %q", r.Findings)
	}
}

// TestRefusedAtStart: what must pass a limit, or makes no sense, does not begin.
func TestRefusedAtStart(t *testing.T) {
	for want, edit := range map[string]func(cfg *RunConfig){
		"Limits.Time is":          func(cfg *RunConfig) { cfg.Limits.Time = 2 * time.Second },
		"Limits.Memory is":        func(cfg *RunConfig) { cfg.Plan.Faults[0].Options = Options{"bytes": "99999999999"} },
		"Limits.Disk is":          func(cfg *RunConfig) { cfg.Limits.Disk, cfg.Plan.Faults[0].Options = 1, Options{"bytes": "2"} },
		"option bytes is":         func(cfg *RunConfig) { cfg.Plan.Faults[0].Options = Options{"bytes": "many"} },
		"a limit is negative":     func(cfg *RunConfig) { cfg.Limits.Disk = -1 },
		"Limits.Processes is":     func(cfg *RunConfig) { cfg.System.Layer, cfg.Limits.Processes = Process, 2 },
		"Kind is \"none\"":        func(cfg *RunConfig) { cfg.Plan.Faults[0].Kind = "none" },
		"Load.Rate is":            func(cfg *RunConfig) { cfg.Load.Rate = 0 },
		"Load.Rise is":            func(cfg *RunConfig) { cfg.Load.Rise = -1000 },
		"Load.Profile[0] is":      func(cfg *RunConfig) { cfg.Load.Profile = []float64{0} },
		"Rise and Profile":        func(cfg *RunConfig) { cfg.Load.Rise, cfg.Load.Profile = 1, []float64{1} },
		"Load.SessionShare is":    func(cfg *RunConfig) { cfg.Load.Sessions = 0 },
		"SystemConfig.Layer is":   func(cfg *RunConfig) { cfg.System.Layer = "none" },
		"SystemConfig.Workers is": func(cfg *RunConfig) { cfg.System.Layer = Wire },
		"Pool.MaxSize is":         func(cfg *RunConfig) { cfg.System.Pool.MaxSize = 0 },
	} {
		cfg := killing(t)
		edit(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestReportAsJSON: a report can be read again, but for its calls and history.
func TestReportAsJSON(t *testing.T) {
	r := inBubble(t, killing(t))
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if again.Phase("harm").Results != r.Phase("harm").Results || !slices.Equal(again.Series, r.Series) || len(again.Series) == 0 || again.Calls != nil {
		t.Errorf("read %s", text)
	}
	begun, answered := 0, 0
	for _, s := range r.Series {
		begun, answered = begun+s.Begun, answered+s.Answered[OK]+s.Answered.Errors()
	}
	if begun != len(r.Calls) || answered != len(r.Calls) {
		t.Errorf("the series has %d calls begun and %d answered, want %d", begun, answered, len(r.Calls))
	}
	var tally Tally
	if err := json.Unmarshal([]byte(`{"nothing":1}`), &tally); err == nil {
		t.Error("a result that does not exist was read")
	}
}

// TestResultOf: errors are told apart.
func TestResultOf(t *testing.T) {
	for want, err := range map[Result]error{
		OK: nil, Lost: pool.ErrSessionLost, Saturated: pool.ErrSaturated, Cancelled: pool.ErrAcquireTimeout,
		NoStart: &pool.StartError{Err: errBroken}, Broke: errFakeAway, Unexpected: errors.Join(errBroken, pool.ErrClosed),
	} {
		if got := resultOf(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}
