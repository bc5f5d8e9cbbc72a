package faults

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyVocabulary has every aim, options and times.
func anyVocabulary() *Vocabulary {
	options := func(t *rapid.T) Options {
		if !rapid.Bool().Draw(t, "option") {
			return nil
		}
		return Options{"n": fmt.Sprint(rapid.IntRange(1, 9).Draw(t, "n")), "d": "20ms"}
	}
	return &Vocabulary{
		MaxFaults: 5, Span: 10 * time.Second, Sessions: 3,
		Choices: []Choice{
			{Kind: "kill", Aims: []Aim{AtRandom, AtShare, AtAll, AtSession}},
			{Kind: "stop", Aims: []Aim{AtRandom}, Options: options, Lasts: time.Second},
			{Kind: "start-exit", Aims: []Aim{AtStarts, AtPool}, Options: options, Lasts: 2 * time.Second},
		},
	}
}

func TestPlanTextIsReadBack(t *testing.T) {
	v := anyVocabulary()
	rapid.Check(t, func(t *rapid.T) {
		p := v.Draw(t)
		if err := p.Check(); err != nil {
			t.Fatalf("a drawn plan is wrong: %v", err)
		}
		text := p.String()
		got, err := ParsePlan(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(*got, p) {
			t.Fatalf("read back: got %+v, want %+v\n%s", *got, p, text)
		}
	})
}

func TestParsePlan(t *testing.T) {
	const text = `
plan crash-60-percent   # the name
seed 7

at 2s: kill share 60%
every 500ms from 1s to 8s: kill random
between 2s and 5s: delay d=20ms jitter=5ms session s3 for 1s
at 1s: start-exit n=3 starts
at 0s: swap-bindings pool
at 3s: partition direction=both all for 2s
at 3s: kill session
`
	p, err := ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	want := &Plan{Name: "crash-60-percent", Seed: 7, Faults: []Planned{
		{Kind: "kill", When: When{From: 2 * time.Second}, Who: Who{Aim: AtShare, Share: 0.6}},
		{Kind: "kill", When: When{From: time.Second, To: 8 * time.Second, Every: 500 * time.Millisecond}},
		{
			Kind: "delay", Options: Options{"d": "20ms", "jitter": "5ms"}, When: When{From: 2 * time.Second, To: 5 * time.Second},
			Who: Who{Aim: AtSession, Session: "s3"}, For: time.Second,
		},
		{Kind: "start-exit", Options: Options{"n": "3"}, When: When{From: time.Second}, Who: Who{Aim: AtStarts}},
		{Kind: "swap-bindings", Who: Who{Aim: AtPool}},
		{Kind: "partition", Options: Options{"direction": "both"}, When: When{From: 3 * time.Second}, Who: Who{Aim: AtAll}, For: 2 * time.Second},
		{Kind: "kill", When: When{From: 3 * time.Second}, Who: Who{Aim: AtSession}},
	}}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v\nwant %+v", p, want)
	}
	if got, want := p.Span(), 8*time.Second; got != want {
		t.Errorf("Span() = %v, want %v", got, want)
	}
}

func TestParsePlanSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"kill random":                              `line 1: it begins with "kill"; want plan, seed, at, between or every`,
		"\nseed x":                                 `line 2: the seed is "x"; want a whole number`,
		"plan":                                     `line 1: the plan's name is ""; want one word`,
		"plan a b":                                 `line 1: "b" is left over at its end`,
		"at 2: kill random":                        `line 1: "2" is no duration; want one such as 250ms`,
		"at -2s: kill random":                      `line 1: "-2s" is no duration`,
		"at 2s kill random":                        `line 1: "kill" stands where a colon is wanted`,
		"between 2s to 3s: kill random":            `line 1: "to" stands where "and" is wanted`,
		"between 3s and 2s: kill random":           `line 1: it lasts from 3s to 2s; want the end to be later`,
		"every 1s from 3s: kill random":            `line 1: "3s:" is no duration`,
		"every 1us from 0s to 1s: kill random":     `Plan.Faults[0].When.Every is 1µs; it must be at least 1ms`,
		"at 2s:":                                   `line 1: the kind of fault is ""`,
		"at 2s: kill":                              `line 1: the victims are ""; want random, share, all, session, starts or pool`,
		"at 2s: kill worker":                       `line 1: the victims are "worker"`,
		"at 2s: kill share 0%":                     `line 1: the share is "0%"; want a percentage such as 60%`,
		"at 2s: kill share 0.6":                    `line 1: the share is "0.6"`,
		"at 2s: kill share NaN%":                   `line 1: the share is "NaN%"`,
		"at 2s: kill random for":                   `line 1: "" is no duration`,
		"at 2s: kill random twice":                 `line 1: "twice" is left over at its end`,
		"at 2s: delay d=1s d=2s random":            `line 1: the option d is given twice`,
		"at 2s: delay d= random":                   `Plan.Faults[0].Options has "d"=""; want words`,
		"at 2s: kill random for 30h":               `the plan takes 30h0m2s; want at most 24h0m0s`,
		"every 1ms from 0s to 1m: kill random":     `the plan injects 60001 times; want at most 10000`,
		"at 2s: kill session " + words65():         `Plan.Faults[0].Who.Session is `,
		strings.Repeat("at 1s: kill all\n", 1001):  `line 1001: there are more than 1000 faults`,
		strings.Repeat("#", mostText) + "\nseed 1": `the plan's text has 1048583 bytes; want at most 1048576`,
	} {
		if _, err := ParsePlan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %v, want %q", text, err, want)
		}
	}
}

func words65() string { return strings.Repeat("s", 65) }

func FuzzParsePlan(f *testing.F) {
	f.Add("plan a\nseed 1\nat 1s: kill share 60%\nbetween 1s and 2s: delay d=1s session s1 for 1s\nevery 1s from 1s to 3s: kill all")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlan(text)
		if err != nil {
			return
		}
		again, err := ParsePlan(p.String())
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%q: read back: got %+v, %v, want %+v", text, again, err, p)
		}
	})
}

// TestPlanChanceBelongsToItsLine leaves out a line, and the others do what they did.
func TestPlanChanceBelongsToItsLine(t *testing.T) {
	line := func(kind string) Planned {
		return Planned{Kind: kind, When: When{To: time.Hour}}
	}
	all := Plan{Seed: 3, Faults: []Planned{line("a"), line("b"), line("b"), line("c")}}
	few := Plan{Seed: 3, Faults: []Planned{line("b"), line("b"), line("c")}}
	at := func(p *Plan, i int) time.Duration { return p.Faults[i].When.times(p.random(i))[0] }
	for i := range few.Faults {
		if got, want := at(&few, i), at(&all, i+1); got != want {
			t.Errorf("line %d: at %v without line a, at %v with it", i, got, want)
		}
	}
	if at(&all, 1) == at(&all, 2) {
		t.Error("two equal lines happen at the same moment")
	}
}

func TestTimes(t *testing.T) {
	p := Plan{Faults: []Planned{{}}}
	for _, c := range []struct {
		when When
		want []time.Duration
	}{
		{When{From: 3}, []time.Duration{3}},
		{When{From: 3, To: 10, Every: 3}, []time.Duration{3, 6, 9}},
		{When{From: 3, To: 9, Every: 3}, []time.Duration{3, 6, 9}},
	} {
		if got := c.when.times(p.random(0)); !slices.Equal(got, c.want) || c.when.count() != len(c.want) {
			t.Errorf("%v: got %v (count %d), want %v", c.when, got, c.when.count(), c.want)
		}
	}
	w := When{From: 3, To: 5}
	for range 100 {
		if at := w.times(p.random(0)); len(at) != 1 || at[0] < 3 || at[0] >= 5 {
			t.Errorf("%v: got %v", w, at)
		}
	}
}

func TestShrink(t *testing.T) {
	text := func(p Plan) string { return strings.Join(strings.Split(p.String(), "\n")[2:], "\n") }
	parse := func(lines ...string) Plan {
		p, err := ParsePlan("seed 1\n\n" + strings.Join(lines, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return *p
	}
	whole := parse(
		"every 1s from 1s to 9s: kill all", "at 2s: stop share 40% for 4s", "between 1s and 3s: delay d=1s random for 8s",
		"at 7s: kill random", "at 8s: flip random", "at 8s: garbage random",
	)
	has := func(p Plan, kind string) bool {
		return slices.ContainsFunc(p.Faults, func(f Planned) bool { return f.Kind == kind })
	}
	for _, c := range []struct {
		name  string
		fails func(Plan) bool
		want  string
	}{
		{"one fault", func(p Plan) bool { return has(p, "flip") }, "at 1ms: flip random\n"},
		{"two faults", func(p Plan) bool { return has(p, "stop") && has(p, "garbage") }, "at 1ms: stop random for 16ms\nat 1ms: garbage random\n"},
		{"a long one", func(p Plan) bool {
			return slices.ContainsFunc(p.Faults, func(f Planned) bool { return f.Kind == "stop" && f.For >= time.Second })
		}, "at 1ms: stop random for 1s\n"},
		{"a repetition", func(p Plan) bool {
			return slices.ContainsFunc(p.Faults, func(f Planned) bool { return f.When.count() >= 3 })
		}, "every 1s from 1s to 3s: kill random\n"},
		{"never", func(Plan) bool { return false }, text(whole)},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			got, runs := Shrink(whole, 1000, func(p Plan) bool {
				calls++
				if err := p.Check(); err != nil {
					t.Errorf("a candidate is wrong: %v", err)
				}
				return c.fails(p)
			})
			if text(got) != c.want {
				t.Errorf("got\n%s\nwant\n%s", text(got), c.want)
			}
			if runs != calls || runs > 1000 {
				t.Errorf("%d calls, said to be %d", calls, runs)
			}
		})
	}
	if got, runs := Shrink(whole, 3, func(p Plan) bool { return len(p.Faults) > 2 }); runs != 3 {
		t.Errorf("a budget of 3: %d runs, %v", runs, got)
	}
}
