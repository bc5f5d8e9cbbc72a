package props

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyGenOp draws any line that a script may hold.
func anyGenOp(rt *rapid.T) genOp {
	o := genOp{verb: genVerb(rapid.IntRange(0, int(genVerbs)-1).Draw(rt, "verb")), together: rapid.Bool().Draw(rt, "together")}
	some := func(label string) time.Duration {
		return time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(rt, label))
	}
	if !o.global() {
		o.client = rapid.IntRange(1, 20).Draw(rt, "client")
	}
	switch o.verb {
	case genVAcquire:
		o.session = rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "session")
		if o.done = rapid.Bool().Draw(rt, "done"); !o.done {
			o.wait = some("timeout")
		}
	case genVShutdown:
		o.done = rapid.Bool().Draw(rt, "done")
	case genVWait:
		o.wait = some("wait")
	case genVEnd:
		o.ending = Ending(rapid.IntRange(0, int(Goexit)).Draw(rt, "ending"))
	case genVEndSession:
		o.session = rapid.SampledFrom(genSessions()).Draw(rt, "session")
	case genVResize, genVChurn:
		o.max = rapid.IntRange(1, 9).Draw(rt, "max")
	case genVNext:
		o.hook = genHook(rapid.IntRange(0, int(genHooks)-1).Draw(rt, "hook"))
		o.plan.how = genHow(rapid.IntRange(0, int(genGateCtx)).Draw(rt, "how"))
		if o.plan.how == genSlow {
			o.plan.slow = some("slow")
		}
	case genVOpen:
		o.gate = rapid.IntRange(1, 5).Draw(rt, "gate")
		o.how = genHow(rapid.IntRange(0, int(genPanics)).Draw(rt, "how"))
	}
	return o
}

// A script reads back as what was written.
func TestScriptReadsBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := anyGenOp(rt)
		s, err := parseScript("# a comment\n" + scriptText([]genOp{o}) + "   " + o.String() + "  # c1 has r1\n")
		if err != nil || s.target != "x" || len(s.ops) != 2 || s.ops[0] != o || s.ops[1] != o || s.scheduled {
			rt.Fatalf("%v: got %+v, %v", o, s, err)
		}
	})
}

// Lines that say nothing sensible are refused, with their number.
func TestScriptErrors(t *testing.T) {
	for _, bad := range []string{
		"c1", "c0 acquire", "x acquire", "c1 fly", "-- acquire", "c1 wait 1s", "-- wait long", "c1 acquire now",
		"c1 resize many", "-- next meal gate", "-- open one ok", "c1 end badly",
		"schedule 3", "schedule ",
	} {
		if _, err := parseScript("target x\n" + bad); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: got %v, want an error about line 2", bad, err)
		}
	}
}

// FuzzScript: no text makes the reader panic, and what it reads it can write.
func FuzzScript(f *testing.F) {
	f.Add("target x\nc1 acquire session=a timeout=1ms\n& c2 close # c2 done\n-- next create slow 5ms\n-- open 1 fail\nschedule 3:1 7:2\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseScript(text)
		if err != nil {
			return
		}
		again, err := parseScript(s.String())
		if err != nil || len(again.ops) != len(s.ops) || again.schedule.String() != s.schedule.String() {
			t.Fatalf("%q: wrote %v, read %v, %v", text, s, again, err)
		}
	})
}
