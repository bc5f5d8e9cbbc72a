package layers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/pooltest"
)

// TestScenariosObject shows the scenarios noticing workers, and pools, that are wrong on
// purpose, each in one way.
func TestScenariosObject(t *testing.T) {
	pooltest.CheckLeaks(t)
	want := readGolden(t)
	all := scenarios()
	names := []layer{memory(noFault), wire(), {name: "go"}, {name: "python"}, {name: "fork server"}, {name: "node"}}
	for _, c := range []struct {
		fault     fault
		scenarios []string // each of which must object
	}{
		{strictMoves, []string{"a crash in a call", "a kill between calls", "a stream whose worker dies"}},
		{deadIsUsable, []string{"a crash in a call", "a deadline"}},
		{frozenIsWell, []string{"health checks"}},
		{errorKills, []string{"an error keeps the worker", "an unknown method"}},
		{progressIsLost, []string{"progress"}},
		{batchIsShifted, []string{"a batch with mixed outcomes"}},
		{windowIsIgnored, []string{"a stream with a slow consumer"}},
		{sizeIsIgnored, []string{"a request that is too large"}},
		{cancelKills, []string{"cancelling a call that can be", "a stream left early", "a stream that is cancelled"}},
		{cancelledIsKept, []string{"cancelling a call that cannot be", "a deadline", "cancelling from within a call"}},
		{lateReply, []string{"cancelling a call that can be", "a stream left early"}},
		{streamErrorIsLost, []string{"a stream that fails"}},
		{streamIsCut, []string{"a stream to its end"}},
		{sessionsMix, []string{"sessions at once", "the end of a session"}},
		{sessionsStay, []string{"the end of a session", "a session's time to live"}},
		{payloadIsCut, []string{"raw payloads"}},
		{codesDiffer, []string{"an error keeps the worker", "a batch with mixed outcomes"}},
		{logsAreLost, []string{"log notifications"}},
		{paramsUnchecked, []string{"params that do not fit"}},
		{resultsUnbounded, []string{"a result that is too large"}},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir()) // for the histories that are not sound
			for _, name := range c.scenarios {
				i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
				tr := newTroupe(t, memory(c.fault), time.Second)
				if err := tr.judge(all[i], names, want); err == nil {
					t.Errorf("%s: nothing noticed", name)
				} else {
					t.Logf("%s: %.500s", name, err)
				}
				if err := tr.close(); err != nil {
					t.Log(err)
				}
			}
		})
	}
}
