package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// seedVariable repeats a trial's choices. What the machine makes of them it does not repeat.
const seedVariable = "TEXTSERVER_SEED"

// trial is a run of many clients in three phases: in peace, while workers are killed, and
// in peace again.
type trial struct {
	clients, workers    int
	before, amid, after int // requests
	killEvery           int // requests served from one kill to the next, on average

	s       *service
	seed    uint64
	book    *book
	talkers []*talker
	killer  killer
	phases  []phase
}

// phase is what was seen of one phase: the increase of the book's counts.
type phase struct {
	name            string
	took            time.Duration
	answers         map[string]int
	continued, anew int
	processes       map[string]bool // those that answered
}

// newTrial makes a trial of a new service.
func newTrial(t *testing.T, tr trial, v variant) *trial {
	t.Helper()
	change := v.change
	v.change = func(o *options) {
		o.workers = tr.workers
		if change != nil {
			change(o)
		}
	}
	tr.s = newService(t, v)
	tr.seed = rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if tr.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("to repeat: %s=%d", seedVariable, tr.seed)
	tr.book = newBook()
	tr.killer.random = rand.New(rand.NewPCG(tr.seed, 0))
	samples := tr.samples(t)
	for i := range tr.clients {
		c := &talker{
			name: "client-" + strconv.Itoa(i), random: rand.New(rand.NewPCG(tr.seed, uint64(i)+1)),
			samples: samples, book: tr.book, send: tr.s.send, buried: make(map[string]bool),
		}
		c.begin(false)
		tr.talkers = append(tr.talkers, c)
	}
	return &tr
}

// samples asks for the scores of texts that the classifier does not know.
func (tr *trial) samples(t *testing.T) (samples []sample) {
	content, err := os.ReadFile(filepath.Join("testdata", "heldout.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			a := tr.s.must("POST", "/classify", body(text, 0), http.StatusOK, "")
			samples = append(samples, sample{text, scores(a)})
			tr.book.answers["ok"]++
		}
	}
	return samples
}

// run goes through the phases. The error says that the trial itself could not be held.
func (tr *trial) run(ctx context.Context) error {
	if err := tr.recover(patience); err != nil {
		return err
	}
	if err := tr.talk(ctx, "before", tr.before, 0); err != nil {
		return err
	}
	if err := tr.talk(ctx, "amid", tr.amid, tr.killEvery); err != nil {
		return err
	}
	if err := tr.recover(patience); err != nil {
		return err
	}
	return tr.talk(ctx, "after", tr.after, 0)
}

// talk has the talkers make so many requests together, while workers are killed unless
// killEvery is 0.
func (tr *trial) talk(ctx context.Context, name string, requests, killEvery int) error {
	strikes, ended := make(chan struct{}, requests), make(chan error, 1)
	go func() {
		var err error
		for range strikes {
			if err == nil {
				err = tr.killer.strike()
			}
		}
		ended <- err
	}()
	killAfter := tr.moments(requests, killEvery)
	began, before := time.Now(), tr.seen(name)
	var begun, served atomic.Int64
	var wg sync.WaitGroup
	for _, c := range tr.talkers {
		wg.Go(func() {
			for n := begun.Add(1); n <= int64(requests); n = begun.Add(1) {
				if !c.step(ctx) && killAfter[int(served.Add(1))] {
					strikes <- struct{}{}
				}
			}
		})
	}
	wg.Wait()
	close(strikes)
	err := <-ended
	tr.phases = append(tr.phases, tr.seen(name).since(before, time.Since(began)))
	return err
}

// moments draws the requests after which a worker is killed. Only those count that were
// served: so workers are not killed faster than they can do some work in between.
func (tr *trial) moments(requests, every int) map[int]bool {
	moments := make(map[int]bool)
	if every > 0 {
		for n := 1; n <= requests; n += every/2 + tr.killer.random.IntN(every) {
			moments[n] = true
		}
	}
	return moments
}

// seen returns what the book holds by now.
func (tr *trial) seen(name string) (p phase) {
	tr.book.note(func(b *book) {
		p = phase{name: name, answers: maps.Clone(b.answers), continued: b.continued, anew: b.anew, processes: make(map[string]bool)}
		for instance, n := range b.processes {
			p.processes[instance+" "+strconv.Itoa(n)] = true
		}
	})
	return p
}

// since returns what was added to the book after before.
func (p phase) since(before phase, took time.Duration) phase {
	p.took = took
	for code, n := range before.answers {
		if p.answers[code] -= n; p.answers[code] == 0 {
			delete(p.answers, code)
		}
	}
	p.continued -= before.continued
	p.anew -= before.anew
	answered := make(map[string]bool)
	for entry := range p.processes {
		if instance, _, _ := strings.Cut(entry, " "); !before.processes[entry] {
			answered[instance] = true
		}
	}
	p.processes = answered
	return p
}

func (p phase) String() string {
	return fmt.Sprintf("%s: %v by %d processes in %v, %d messages went on with a conversation, %d conversations began anew after a loss",
		p.name, p.answers, len(p.processes), p.took.Round(time.Millisecond), p.continued, p.anew)
}

// recover waits until every worker is idle, by the pool's account and the kernel's.
func (tr *trial) recover(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat := tr.s.stats().Pool
		running := workerPIDs()
		later := tr.s.stats().Pool
		later.Seq = stat.Seq // each snapshot has a number of its own
		// The two fit together only if nothing has changed meanwhile.
		if later == stat && stat.Idle == tr.workers && stat.Live() == tr.workers && !stat.BackingOff && len(running) == tr.workers {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v not all of %d workers are idle: %+v, processes %v", patience, tr.workers, stat, running)
		}
	}
}

// balance compares the service's books with the clients' and the killer's.
func (tr *trial) balance() {
	got := tr.s.stats()
	if !maps.Equal(got.Answers, tr.book.answers) {
		tr.book.object(ruleAnswered, "the service counts %v, the clients %v", got.Answers, tr.book.answers)
	}
	if lost := int(got.Pool.Counts.Stopped + got.Pool.Counts.StartFailures); lost != tr.killer.landed {
		tr.book.object(ruleKilled, "%d workers were killed, %d were lost: %+v", tr.killer.landed, lost, got.Pool.Counts)
	}
}

// shortcomings says what the trial was too weak for to prove anything.
func (tr *trial) shortcomings() (found []string) {
	demand := func(what string, got, want int) {
		if got < want {
			found = append(found, fmt.Sprintf("%s: %d, want at least %d", what, got, want))
		}
	}
	demand("phases", len(tr.phases), 3)
	demand("workers killed", tr.killer.landed, tr.amid/tr.killEvery/2)
	for i, p := range tr.phases {
		requests := []int{tr.before, tr.amid, tr.after}[i]
		total := 0
		for _, n := range p.answers {
			total += n
		}
		demand(p.name+": answers", total, requests)
		demand(p.name+": answers that are no refusals", p.answers["ok"], requests/2)
		demand(p.name+": messages that went on with a conversation", p.continued, requests/8)
		demand(p.name+": processes that answered", len(p.processes), tr.workers)
		if p.name == "amid" {
			demand("losses reported", p.answers["conversation_lost"], tr.killer.landed)
			demand("conversations begun anew after a loss", p.anew, tr.killer.landed)
			demand("processes that answered amid the kills", len(p.processes), tr.workers+tr.killer.landed/4)
		}
	}
	return found
}

// refusals returns how many answers of a phase were refusals, but for the losses of
// conversations, which are reported when their clients come back.
func (p phase) refusals() int {
	n := 0
	for code, count := range p.answers {
		if code != "ok" && code != "conversation_lost" {
			n += count
		}
	}
	return n
}

func TestTrial(t *testing.T) {
	size := trial{clients: 64, workers: 4, before: 1000, amid: 10_000, after: 1000, killEvery: 150}
	if race {
		size.before, size.amid, size.after = 400, 2000, 400
	}
	tr := newTrial(t, size, variant{})
	err := tr.run(t.Context())
	for _, p := range tr.phases {
		t.Log(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d workers killed; at the end %+v", tr.killer.landed, tr.s.stats().Pool.Counts)
	tr.balance()
	if text := tr.book.summary(); text != "" {
		t.Error(text)
	}
	for _, text := range tr.shortcomings() {
		t.Error(text)
	}
	for _, i := range []int{0, 2} {
		if p := tr.phases[i]; p.refusals() > 0 {
			t.Errorf("nobody was killed, and yet: %v", p)
		}
	}
	if p := tr.phases[0]; p.answers["conversation_lost"] > 0 {
		t.Errorf("nobody had been killed, and yet: %v", p)
	}
}

// The clients object to services that go wrong in the ways that matter.
func TestTrialObjects(t *testing.T) {
	for name, c := range map[string]struct {
		variant
		rules []string // that must be reported as broken
	}{
		"a lost conversation goes on elsewhere": {
			variant{change: func(o *options) { o.affinity = pool.Sticky }},
			[]string{ruleTurn, ruleProcess},
		},
		"a proxy begins a lost conversation anew": {variant{wrap: revive}, []string{ruleTurn, ruleProcess}},
		"messages arrive twice":                   {variant{wrap: repeat}, []string{ruleTurn, ruleScores}},
		"two conversations are one":               {variant{wrap: confuse}, []string{ruleTurn}},
		"a refusal has no type":                   {variant{wrap: blur}, []string{ruleTyped}},
		"an answer is lost":                       {variant{wrap: swallow}, []string{ruleAnswered}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, trial{clients: 16, workers: 2, before: 50, amid: 400, after: 50, killEvery: 80}, c.variant)
			if err := tr.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			tr.balance()
			found := slices.Collect(maps.Keys(tr.book.objections))
			for _, rule := range c.rules {
				if !slices.Contains(found, rule) {
					t.Errorf("not noticed: %s\nbut this was: %s", rule, tr.book.summary())
				}
			}
		})
	}
}

// Capacity that does not come back is noticed.
func TestTrialNoticesThatWorkersDoNotReturn(t *testing.T) {
	corpus := filepath.Join(t.TempDir(), "corpus")
	if err := os.WriteFile(corpus, []byte("a\tred\nb\tblue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, trial{workers: 2}, variant{change: func(o *options) { o.corpus = corpus }})
	strike := func() {
		if err := errors.Join(tr.recover(patience), tr.killer.strike()); err != nil {
			t.Fatal(err)
		}
	}
	strike()
	if err := tr.recover(patience); err != nil {
		t.Fatal(err)
	}
	if tr.balance(); len(tr.book.objections) > 0 {
		t.Fatal(tr.book.summary())
	}
	tr.killer.landed++
	if tr.balance(); len(tr.book.objections[ruleKilled]) == 0 {
		t.Error("one kill more was claimed than there were, and nobody noticed")
	}
	if err := os.Remove(corpus); err != nil {
		t.Fatal(err)
	}
	strike()
	if err := tr.recover(100 * time.Millisecond); err == nil {
		t.Error("a worker is missing, and nobody noticed")
	}
}

// A trial in which too little happened proves nothing, and says so.
func TestTrialThatIsTooWeakSaysSo(t *testing.T) {
	strong := func() *trial {
		answered := map[string]bool{"1": true, "2": true}
		return &trial{
			workers: 2, before: 100, amid: 300, after: 100, killEvery: 100, killer: killer{landed: 3},
			phases: []phase{
				{name: "before", answers: map[string]int{"ok": 100}, continued: 60, processes: answered},
				{name: "amid", answers: map[string]int{"ok": 290, "conversation_lost": 10}, continued: 90, anew: 4, processes: answered},
				{name: "after", answers: map[string]int{"ok": 100}, continued: 60, processes: answered},
			},
		}
	}
	if found := strong().shortcomings(); len(found) > 0 {
		t.Fatal(found)
	}
	for name, weaken := range map[string]func(*trial){
		"no kill":            func(tr *trial) { tr.killer.landed = 0 },
		"no last phase":      func(tr *trial) { tr.phases = tr.phases[:2] },
		"answers missing":    func(tr *trial) { tr.phases[1].answers["ok"]-- },
		"mostly refusals":    func(tr *trial) { tr.phases[1].answers = map[string]int{"busy": 290, "conversation_lost": 10} },
		"no conversations":   func(tr *trial) { tr.phases[2].continued = 0 },
		"one worker idle":    func(tr *trial) { tr.phases[0].processes = map[string]bool{"1": true} },
		"no loss":            func(tr *trial) { tr.phases[1].answers = map[string]int{"ok": 300} },
		"nobody began again": func(tr *trial) { tr.phases[1].anew = 0 },
	} {
		tr := strong()
		if weaken(tr); len(tr.shortcomings()) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}
