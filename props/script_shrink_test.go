package props

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
)

// mustParse reads a script's lines, separated by semicolons.
func mustParse(t *testing.T, script string) []genOp {
	t.Helper()
	parsed, err := parseScript(strings.ReplaceAll(script, ";", "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.ops
}

// scriptText writes a script for the target x.
func scriptText(ops []genOp) string {
	s := genScript{target: "x", ops: ops}
	return s.String()
}

// shrunk replays a script and returns what it finds, made short.
func shrunk(t *testing.T, target Target, script string) *genFinding {
	t.Helper()
	v := newGenVerifier(t, target)
	f, _ := v.run(t, replayOps(mustParse(t, script)))
	if f == nil {
		t.Fatalf("%s: nothing is found", script)
	}
	return v.shrink(t, f)
}

// Scripts from which no line can be dropped, and none made simpler, are not the end.
func TestShrinkLeavesLocalMinima(t *testing.T) {
	for _, c := range []struct {
		bug    tinyBug
		rule   string
		lines  int
		script string
	}{
		{tinyLostWakeup, "I5", 5, `c1 acquire; c2 acquire; -- next create fail; c3 acquire; c4 acquire; c5 acquire; c6 acquire;
			-- next create fail; c2 release; c2 resize 4`},
		{tinyLostWakeup, "I5", 5, `c1 acquire; c2 acquire; -- next destroy slow 1s; c1 release; c3 resize 1; c4 acquire; c2 release;
			-- next create fail; c2 acquire; -- wait 1s`},
		{tinyLostWakeup, "I5", 5, `-- next create slow 200ms; -- next create slow 900ms; -- next create slow 2ms; c1 acquire;
			-- next create fail; c2 acquire; c3 reset; c4 acquire; -- wait 1s`},
		{tinyLostWakeup, "I5", 5, `c1 acquire; c2 acquire; c3 resize 4; c3 acquire; c4 acquire; c5 acquire; c6 resize 3; c6 acquire;
			-- next destroy slow 1s; c2 release; c1 release; -- next create fail; -- wait 1s`},
		{tinyOverCapacity, "I2", 3, `-- next create gate; c1 acquire; c2 acquire; c2 cancel; c2 create`},
		{tinyOverCapacity, "I2", 3, `-- next create slow 1s; c1 create; c2 acquire; c2 release; -- wait 1s; c2 create`},
		{tinyDestroyTwice, "I3", 3, `-- next create gate; c1 acquire; c2 acquire; c2 cancel; c1 release; c2 reset`},
		{tinyCloseStrands, "livelock", 3, `c1 acquire; c2 acquire; c3 reset; -- next destroy gate; c1 release; c4 acquire; c3 close`},
		{tinyResetCreating, "reset", 3, `c1 acquire; c1 release; -- next create gate; -- next destroy gate; c1 reset; c2 acquire;
			-- open 1 ok; c1 reset`},
		{tinyPanicKeeps, "I5", 2, `-- next destroy gate; c1 acquire; c2 reset; c2 acquire; c3 acquire; c1 release; -- next create gate;
			-- open 1 ok; -- open 1 panic`},
		{tinyPanicKeeps, "I13", 3, `c1 acquire; -- next create panic; c1 release; -- next destroy gate; c2 acquire; c3 acquire; c2 release;
			c2 resize 1; c1 resize 2`},
		{tinyDoneTakes, "I6", 2, `-- next create gate; c1 acquire; c1 cancel; -- open 1 ok; c2 acquire done`},
	} {
		f := shrunk(t, (&control{bug: c.bug}).target(), c.script)
		if f.violation.Rule != c.rule || len(f.ops) != c.lines || f.seen < f.tried {
			t.Errorf("%s:\ngot, seen in %d of %d,\n%s\nwant %s in %d lines", c.script, f.seen, f.tried, f.script("tiny"), c.rule, c.lines)
		}
	}
}

// No script of these words breaks the rule of a control in fewer lines than the table says,
// unless lines are done together: all of them are tried.
func TestControlsShortest(t *testing.T) {
	words := mustParse(t, `c1 acquire; c1 acquire done; c1 release; c1 discard; c1 cancel; c1 create; c1 reset; c1 resize 1;
		c1 resize 3; c1 close; -- next create gate; -- next create fail; -- next create panic; -- next destroy gate;
		-- open 1 ok; -- open 1 fail; -- open 1 panic`)
	for _, c := range controls() {
		v := newGenVerifier(t, c.target())
		w := &genSearcher{words: words, most: unlimited(), rare: math.MaxInt}
		tried := 0
		for shorter := true; shorter; w.lines++ {
			shorter = false
			for _, lines := range c.rules {
				shorter = shorter || w.lines+1 < lines
			}
			w.path, w.wide = nil, nil
			for more := true; more; more = w.advance() {
				f, _ := v.run(t, w.play)
				tried++
				if f == nil {
					continue
				}
				if lines, ok := c.rules[f.violation.Rule]; ok && len(f.ops) < lines {
					t.Fatalf("%s: want %d lines at least, got\n%s", c.name, lines, f.script("tiny"))
				}
			}
		}
		t.Logf("%s: %d scripts of up to %d lines", c.name, tried, w.lines-1)
	}
}

// fickle counts wrongly after a resize, and by chance.
type fickle struct {
	*tinyPool
	wrong bool
}

func (p *fickle) Resize(size int) error {
	p.wrong = true
	return p.tinyPool.Resize(size)
}

func (p *fickle) Counts() (idle, leased, total int) {
	idle, leased, total = p.tinyPool.Counts()
	if p.wrong {
		leased++
	}
	return idle, leased, total
}

// A script that broke the rule once, by chance, does not take the place of one that always
// does; where chance is all there is, it will do.
func TestShrinkDistrustsLuck(t *testing.T) {
	runs := 0
	target := tinyTarget(2, tinyCorrect)
	target.Open = func(env *Env) (Pool, error) {
		runs++
		return &fickle{tinyPool: newTinyPool(env, 2, tinyCorrect), wrong: runs%3 == 0}, nil
	}
	f := shrunk(t, target, "c1 acquire; c2 resize 3; c2 acquire; c2 release; c1 release")
	if want := "target x\nc1 resize 1\n"; scriptText(f.ops) != want || f.seen < f.tried {
		t.Errorf("certain: got, seen in %d of %d,\n%s\nwant\n%s", f.seen, f.tried, f.script("fickle"), want)
	}
	runs = 2 // the first one goes wrong
	f = shrunk(t, target, "c1 acquire; c2 acquire; c2 release; c1 release")
	if len(f.ops) > 0 || f.seen == 0 || f.seen == f.tried {
		t.Errorf("by chance: got, seen in %d of %d,\n%s\nwant no line, sometimes", f.seen, f.tried, f.script("fickle"))
	}
}

// All scripts are tried, but for those that do the same as another one.
func TestSearcherTriesAll(t *testing.T) {
	for _, c := range []struct {
		words  string
		bursts bool
		want   []string
	}{
		{"c1 acquire; -- next create gate", false, []string{
			"c1 acquire; c2 acquire; c3 acquire", "c1 acquire; -- next create gate; c2 acquire", "-- next create gate; c1 acquire; c2 acquire",
			"-- next create gate; -- next create gate; c1 acquire", // the second one is said too early, which shows only now
		}},
		{"c1 acquire; c1 release; c1 cancel", false, []string{
			"c1 acquire; c2 acquire; c3 acquire", "c1 acquire; c2 acquire; c1 release", "c1 acquire; c2 acquire; c2 release",
			"c1 acquire; c1 release; c1 acquire",
		}},
		{"c1 acquire; c1 reset", true, []string{
			"c1 acquire; c2 acquire", "c1 acquire; c2 reset", "& c1 acquire; c2 acquire", "& c1 acquire; c2 reset",
			"c1 reset; c1 acquire", "c1 reset; c1 reset", "& c1 reset; c2 acquire", "& c1 reset; c2 reset",
		}},
	} {
		var got []string
		v := newGenVerifier(t, tinyTarget(2, tinyCorrect))
		w := &genSearcher{lines: strings.Count(c.want[0], ";") + 1, bursts: c.bursts, most: unlimited(), rare: math.MaxInt}
		for _, o := range mustParse(t, c.words) {
			o.client = 0
			w.words = append(w.words, o)
		}
		for more := true; more; more = w.advance() {
			v.run(t, func(r *genRun) *model.PromiseViolation {
				defer func() { got = append(got, joined(r.ops)) }()
				return w.play(r)
			})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.words, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// unlimited lets a searcher use every verb.
func unlimited() (most [genVerbs]int) {
	for i := range most {
		most[i] = math.MaxInt
	}
	return most
}

// joined is the script in a line.
func joined(ops []genOp) string {
	lines := make([]string, len(ops))
	for i, o := range ops {
		lines[i] = o.String()
	}
	return strings.Join(lines, "; ")
}
