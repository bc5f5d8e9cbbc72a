package model

import (
	"strings"
	"testing"
)

func TestOpText(t *testing.T) {
	tests := []struct {
		op   Op
		want string
	}{
		{Op{Kind: OpAcquire, Client: 1, Session: 1}, "acquire client=1 session=a"},
		{Op{Kind: OpAcquire, Client: 2}, "acquire client=2"},
		{Op{Kind: OpTry, Client: 1, Session: 26}, "try client=1 session=z"},
		{Op{Kind: OpCancel, Client: 3}, "cancel client=3"},
		{Op{Kind: OpRelease, Client: 1}, "release client=1"},
		{Op{Kind: OpReleaseUnusable, Client: 1}, "release unusable client=1"},
		{Op{Kind: OpDiscard, Client: 255}, "discard client=255"},
		{Op{Kind: OpEndSession, Session: 2}, "end session=b"},
		{Op{Kind: OpRetire, Worker: 65535}, "retire worker=65535"},
		{Op{Kind: OpResize, Min: 0, Max: 3}, "resize min=0 max=3"},
		{Op{Kind: OpClose}, "close"},
		{Op{Kind: OpForce}, "force"},
		{Op{Kind: OpStarted, Worker: 1}, "start ok worker=1"},
		{Op{Kind: OpStartFailed, Worker: 1}, "start fails worker=1"},
		{Op{Kind: OpStopped, Worker: 1}, "stop done worker=1"},
		{Op{Kind: OpChecked, Worker: 1}, "check ok worker=1"},
		{Op{Kind: OpCheckFailed, Worker: 1}, "check fails worker=1"},
		{Op{Kind: OpTold, Worker: 1}, "tell ok worker=1"},
		{Op{Kind: OpTellFailed, Worker: 1}, "tell fails worker=1"},
		{Op{Kind: OpTick}, "tick"},
	}
	kinds := map[OpKind]bool{}
	for _, test := range tests {
		kinds[test.op.Kind] = true
		if got := test.op.String(); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.op, got, test.want)
		}
		if got, err := ParseOp(test.want); err != nil || got != test.op {
			t.Errorf("ParseOp(%q): got %+v, %v", test.want, got, err)
		}
	}
	if len(kinds) != int(OpTick) {
		t.Errorf("%d kinds are tested, want %d", len(kinds), OpTick)
	}
	for _, line := range []string{
		"", "acquire", "acquire client=0", "acquire client=256", "acquire client=1 client=1", "acquire client=1 session=A",
		"acquire client=1 session=", "acquire client=1 worker=2", "tick client=1", "retire worker=65536", "resize max=1",
		"resize min=0 max=0", "release badly client=1", "start worker=1", "acquire client=1 session", "client=1",
	} {
		if got, err := ParseOp(line); err == nil {
			t.Errorf("ParseOp(%q): got %v, want an error", line, got)
		}
	}
}

func TestEventText(t *testing.T) {
	tests := []struct {
		event Event
		want  string
	}{
		{Event{Kind: EvGranted, Client: 1, Worker: 2, Fresh: true}, "client 1 granted worker=2 fresh"},
		{Event{Kind: EvGranted, Client: 1, Worker: 2}, "client 1 granted worker=2"},
		{Event{Kind: EvRefused, Client: 1, Reason: ReasonCancelled}, "client 1 refused: cancelled"},
		{Event{Kind: EvRefused, Client: 1, Reason: ReasonLost}, "client 1 refused: session lost"},
		{Event{Kind: EvRefused, Client: 1, Reason: ReasonNotAvailable}, "client 1 refused: not available"},
		{Event{Kind: EvRevoked, Client: 9}, "client 9 revoked"},
		{Event{Kind: EvStartBegun, Worker: 1}, "worker 1 start begun"},
		{Event{Kind: EvStartCancelled, Worker: 1}, "worker 1 start cancelled"},
		{Event{Kind: EvStopBegun, Worker: 1}, "worker 1 stop begun"},
		{Event{Kind: EvCheckBegun, Worker: 1}, "worker 1 check begun"},
		{Event{Kind: EvCheckCancelled, Worker: 1}, "worker 1 check cancelled"},
		{Event{Kind: EvTellBegun, Worker: 1, Session: 3}, "worker 1 tell begun session=c"},
		{Event{Kind: EvTellCancelled, Worker: 1}, "worker 1 tell cancelled"},
		{Event{Kind: EvClosed}, "closed"},
		{Event{Kind: EvClosed, Reason: ReasonForced}, "closed forced"},
	}
	for _, test := range tests {
		if got := test.event.String(); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.event, got, test.want)
		}
		if got, err := ParseEvent(test.want); err != nil || got != test.event {
			t.Errorf("ParseEvent(%q): got %+v, %v", test.want, got, err)
		}
	}
	for _, line := range []string{
		"", "client", "client 1", "client 1 granted", "client 0 revoked", "client 1 granted worker=2 stale",
		"worker 1 start", "worker 1 tell begun", "closed badly", "client 1 refused:", "worker 1 start begun session=a",
	} {
		if got, err := ParseEvent(line); err == nil {
			t.Errorf("ParseEvent(%q): got %v, want an error", line, got)
		}
	}
}

// TestTextRoundTrip: whatever a run does and shows can be read back, and fits an Events.
func TestTextRoundTrip(t *testing.T) {
	for i, cfg := range everyConfig() {
		wander(cfg, uint64(30+i), 10, 60, func(_ *State, op Op, nexts []Next) {
			if got, err := ParseOp(op.String()); err != nil || got != op {
				t.Fatalf("ParseOp(%q): got %v, %v", op, got, err)
			}
			for i := range nexts {
				list := nexts[i].Events.All()
				for _, e := range list {
					if got, err := ParseEvent(e.String()); err != nil || got != e {
						t.Fatalf("ParseEvent(%q): got %v, %v", e, got, err)
					}
				}
				if got, ok := EventsOf(list...); !ok || got != nexts[i].Events {
					t.Fatalf("EventsOf(%v): got %v, %v", list, got.All(), ok)
				}
			}
		})
	}
}

func FuzzParseOp(f *testing.F) {
	for _, line := range []string{"acquire client=1 session=a", "resize max=2 min=1", "start ok worker=1", "tick"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		op, err := ParseOp(line)
		if err != nil {
			return
		}
		if again, err := ParseOp(op.String()); err != nil || again != op {
			t.Errorf("%q: got %+v, and from its text %+v, %v", line, op, again, err)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	for _, line := range []string{"client 1 granted worker=2 fresh", "worker 1 tell begun session=c", "closed forced"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := ParseEvent(line)
		if err != nil {
			return
		}
		if got, want := e.String(), strings.Join(strings.Fields(line), " "); got != want {
			t.Errorf("%q: got %q", line, got)
		}
	})
}

func TestUnknownNumbersHaveText(t *testing.T) {
	for _, got := range []string{
		OpKind(99).String(), Op{Kind: 99}.String(), Event{Kind: 99}.String(), Reason(99).String(), Session(99).String(),
		Affinity(99).String(), Op{}.String(), Event{}.String(),
	} {
		if !strings.Contains(got, "(") {
			t.Errorf("got %q, want a number in parentheses", got)
		}
	}
}
