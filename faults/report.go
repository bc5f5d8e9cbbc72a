package faults

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
)

// Report says how a run went. Times count from the opening of the system; in JSON they are
// nanoseconds. A run has passed if there are no findings. These are findings:
//
//   - fewer faults than planned were injected, or one did not land or could not be healed;
//   - a phase has too little traffic, which is fewer than 20 calls;
//   - a call was not answered exactly once, was answered wrongly, or with an error that it
//     must not have: an error that is none of the pool's, or in the phases before and after
//     any;
//   - of the calls of the phase harm a smaller share was answered as asked than the share of
//     capacity left less 5 points. Every error counts, also ErrSessionLost, which a session's
//     call is due once its worker is gone;
//   - capacity did not come back in full, from workers that are alive, have said hello, and
//     are none that a fault has ended;
//   - the history of all acquires, releases and ends of sessions breaks one of the rules I1 to
//     I18, or it is not known whether it does;
//   - a process, a zombie, a descriptor or a goroutine is left when the pool is closed, or
//     memory grew beyond MemoryReport's bounds;
//   - a limit was passed, or the run was cut short;
//   - one of RunConfig.Criteria does not hold.
type Report struct {
	Name     string         `json:"name"`
	Layer    Layer          `json:"layer"`
	Seed     uint64         `json:"seed"`
	Size     int            `json:"size"` // workers
	Planned  int            `json:"planned"`
	Strikes  int            `json:"strikes"` // of those planned that were carried out
	Phases   []PhaseReport  `json:"phases"`
	Faults   []*FaultReport `json:"faults"`
	Series   []Sample       `json:"series"`
	Memory   MemoryReport   `json:"memory"`
	Used     Usage          `json:"used"`
	Criteria []string       `json:"criteria"`
	Judged   string         `json:"judged"` // what the judges of histories say
	Findings []string       `json:"findings"`

	// FirstSuccess is the time from the last landing to the first answer, as asked, of a
	// call that was intended after it. Recovered is the time from the last thing done to
	// the system, a landing or the end of a lasting fault, until capacity was back in full.
	// Negative: never.
	FirstSuccess time.Duration `json:"first_success"`
	// Start is the longest time from the beginning of a start to its hello before the harm.
	Start     time.Duration `json:"start"`
	Recovered time.Duration `json:"recovered"`

	closing time.Duration // when the pool began to be closed

	Calls   []Call             `json:"-"` // in order of their intended times
	History *linearize.History `json:"-"`
	Verdict linearize.Verdict  `json:"-"`

	strikes map[string]int // by kind, how often the plan injects it
}

// Passed says that there are no findings.
func (r *Report) Passed() bool { return len(r.Findings) == 0 }

// Phase returns a phase: "before", "harm", "recovery" or "after". It is the zero phase if
// the run has not come to it.
func (r *Report) Phase(name string) PhaseReport {
	for _, p := range r.Phases {
		if p.Name == name {
			return p
		}
	}
	return PhaseReport{Name: name}
}

// Landed returns how many faults have landed: of one kind, or of all if it is empty.
func (r *Report) Landed(kind string) (n int) {
	for _, f := range r.Faults {
		if f.Error == "" && (kind == "" || f.Kind == kind) {
			n++
		}
	}
	return n
}

// Tally counts calls by result.
type Tally [results]int

// MarshalJSON writes the results that there were, by name.
func (t Tally) MarshalJSON() ([]byte, error) {
	counts := make(map[string]int)
	for i, n := range t {
		if n > 0 {
			counts[Result(i).String()] = n
		}
	}
	return json.Marshal(counts)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Tally) UnmarshalJSON(text []byte) error {
	var counts map[string]int
	if err := json.Unmarshal(text, &counts); err != nil {
		return err
	}
	*t = Tally{}
	for i, name := range resultNames() {
		t[i] = counts[name]
		delete(counts, name)
	}
	for name := range counts {
		return fmt.Errorf("faults: no result is called %q", name)
	}
	return nil
}

// Errors counts the calls that were not answered as asked.
func (t *Tally) Errors() (n int) {
	for _, count := range t[OK+1:] {
		n += count
	}
	return n
}

// PhaseReport is a part of a run: the calls that were begun in it. Those that were begun
// before the harm and answered after it began belong to that.
type PhaseReport struct {
	Name     string        `json:"name"`
	From     time.Duration `json:"from"`
	To       time.Duration `json:"to"`
	Calls    int           `json:"calls"`
	Results  Tally         `json:"results"`
	Capacity float64       `json:"capacity"` // the share of the workers that were ready and unharmed, over the phase
	Latency  Latency       `json:"latency"`

	first, last int // numbers of calls: those from first on and below last were begun in it
}

// Success is the share of the calls that were answered as asked.
func (p *PhaseReport) Success() float64 {
	if p.Calls == 0 {
		return 0
	}
	return float64(p.Results[OK]) / float64(p.Calls)
}

// Latency is how long calls took from their intended times, whatever their answers: so
// much or less for that share of them.
type Latency struct {
	P50  time.Duration `json:"p50"`
	P90  time.Duration `json:"p90"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`
	Max  time.Duration `json:"max"`
}

// FaultReport is one fault of one victim.
type FaultReport struct {
	Kind     string        `json:"kind"`
	Options  string        `json:"options,omitempty"`
	Worker   pool.WorkerID `json:"worker,omitempty"` // 0: nobody in particular
	At       time.Duration `json:"at"`               // it was injected
	Landed   time.Duration `json:"landed,omitempty"` // 0: it has not
	Healed   time.Duration `json:"healed,omitempty"` // 0: there was nothing to heal, or it could not be
	Evidence string        `json:"evidence,omitempty"`
	Ends     bool          `json:"ends,omitempty"` // the worker did not survive it
	// Detected is when it was first noticed: the pool told that it stops the worker, or that
	// a start failed if the fault was nobody's in particular, or a call on the worker
	// failed. Restored is when capacity was first whole again afterwards. 0: never.
	Detected time.Duration `json:"detected,omitempty"`
	Restored time.Duration `json:"restored,omitempty"`
	Error    string        `json:"error,omitempty"` // why it does not count
}

// Detection is the time from the landing to its detection; 0 if that came first. ok is
// false if it was not detected, as of a harm that nobody noticed, or has not landed.
func (f *FaultReport) Detection() (d time.Duration, ok bool) {
	return max(0, f.Detected-f.Landed), f.Detected > 0 && f.Landed > 0
}

// Sample is a tenth of a second of a run, or what was left of it.
type Sample struct {
	At       time.Duration `json:"at"` // its beginning
	Begun    int           `json:"begun"`
	Answered Tally         `json:"answered"`
	P50      time.Duration `json:"p50"` // of those answered in it
	Max      time.Duration `json:"max"`
	Capacity float64       `json:"capacity"`
}

// Glimpse is the state of a run under way.
type Glimpse struct {
	At       time.Duration // since the system was opened
	Phase    string        // empty: not yet loaded
	Begun    int           // calls
	Answered Tally
	Ready    int // workers that are ready and unharmed
	Landed   int // faults
}

func newReport(cfg *RunConfig) *Report {
	r := &Report{
		Name: cfg.Plan.Name, Layer: cfg.System.Layer, Seed: cfg.Plan.Seed, Size: cfg.System.Pool.MaxSize,
		FirstSuccess: -1, Recovered: -1, Findings: []string{}, strikes: make(map[string]int),
	}
	for _, c := range cfg.Criteria {
		r.Criteria = append(r.Criteria, c.Says)
	}
	return r
}

// find notes what went wrong.
func (r *Report) find(format string, args ...any) {
	r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
}
