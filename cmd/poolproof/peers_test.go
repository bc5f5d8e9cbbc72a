package main

import (
	"flag"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/poolproof/poolproof/props"
)

// knownFault is a fault that a published pool had. What broke a rule in both versions, and
// was another fault, is passed by.
type knownFault struct {
	name         string
	peer, target string
	buggy, fixed string
	fixedPeer    string // if it is not peer
	fixedTarget  string
	rules        []string // as which it may show
	known        []string
	slow         bool // in real time, or rare
}

// knownFaults lists them. The adapters know nothing of them.
func knownFaults() []knownFault {
	return []knownFault{
		{name: "destroyed ones free their slot early", peer: "puddle1", target: "puddle1-sound", buggy: "v1.1.1", fixed: "v1.1.2", rules: []string{"I2"}},
		{name: "failed create wakes nobody", peer: "puddle1", target: "puddle1", buggy: "v1.1.2", fixed: "v1.1.3", rules: []string{"I5"}},
		{name: "create beyond the maximum", peer: "puddle2", target: "puddle2", buggy: "v2.2.0", fixed: "v2.2.1", rules: []string{"I2"}, known: []string{"I13"}},
		{name: "close waits for ever after a try", peer: "puddle2", target: "puddle2", buggy: "v2.2.2", fixed: "v2.2.3", rules: []string{"I13"}, slow: true},
		{name: "cancelled wait loses a slot", peer: "redigo", target: "redigo", buggy: "v1.8.2", fixed: "v1.8.3", rules: []string{"I5"}, known: []string{"panic"}},
		{name: "growth wakes nobody", peer: "ants", target: "ants", buggy: "v2.4.7", fixed: "v2.5.0", rules: []string{"I5"}, known: []string{"I2"}},
		{name: "done context takes", peer: "semaphore", target: "semaphore", buggy: "v0.6.0", fixed: "v0.7.0", rules: []string{"I6"}},
		{name: "racing submits go beyond the capacity", peer: "ants", target: "ants-nonblocking", buggy: "v2.11.3", fixed: "v2.11.4", rules: []string{"I2"}, slow: true},
		{name: "cancel that meets a release locks up", peer: "puddle1", target: "puddle1", buggy: "v1.0.0", fixed: "v1.1.0", rules: []string{"I4", "I6", "I13", "hang"}, known: []string{"I2", "I5"}, slow: true},
		{name: "signal lost between check and wait", peer: "commons1", target: "commons1-orderly", buggy: "v2.0.0+incompatible", fixedPeer: "commons2", fixedTarget: "commons2-orderly", fixed: "v2.1.1", rules: []string{"I5"}, slow: true},
		{name: "submitters sleep beside a queue with room", peer: "pond", target: "pond-queue", buggy: "v2.3.3", fixed: "v2.3.4", rules: []string{"I5"}, slow: true},
		{name: "Goexit takes the worker along", peer: "pond", target: "pond-goexit", buggy: "v2.6.0", fixed: "v2.6.2", rules: []string{"I5", "I13"}, slow: true},
	}
}

var peersAll = flag.Bool("peers.all", false, "look for all known faults, and longer where there is none; takes half an hour")

// The faults are found, and nothing is where they have been mended. By default those that
// are quick to show; with -peers.all all of them.
func TestKnownFaults(t *testing.T) {
	for _, k := range knownFaults() {
		if k.slow && !*peersAll {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			if !*peersAll { // else each is to have the machine for itself
				t.Parallel()
			}
			f := peersFlags{checks: 20000, time: time.Minute, seed: 1, known: k.known}
			row := f.verifyKnown(t, k.peer, k.target, k.buggy)
			switch {
			case row.Broken == nil:
				t.Errorf("%s: not found: %s\n%s", k.buggy, row.summary(), row.Output)
			case !slices.Contains(k.rules, row.Broken.Rule):
				t.Errorf("%s: got %s, want one of %v", k.buggy, row.summary(), k.rules)
			default:
				t.Logf("%s: %s; found after %.1f s, %d lines", k.buggy, row.summary(), row.Found, row.Broken.Lines)
			}
			peer, target := k.peer, k.target
			if k.fixedPeer != "" {
				peer, target = k.fixedPeer, k.fixedTarget
			}
			f.checks, f.time = 500, 5*time.Second
			if *peersAll {
				f.checks, f.time = knownChecks, time.Minute
			}
			row = f.verifyKnown(t, peer, target, k.fixed)
			if row.Verdict != verdictPassed {
				t.Errorf("%s: %s\n%s", k.fixed, row.summary(), row.Output)
			} else {
				t.Logf("%s: %s; %d of %d checks of each subtest", k.fixed, row.summary(), row.Executed, f.checks)
			}
			if *peersAll && row.Machine == machineBubble && row.Executed < knownChecks {
				t.Errorf("%s: only %d of %d checks were done", k.fixed, row.Executed, knownChecks)
			}
		})
	}
}

// knownChecks is how many checks of each subtest find nothing in what has been mended, unless
// it is checked in real time, for a minute.
const knownChecks = 20000

// verifyKnown verifies one target of a peer.
func (f *peersFlags) verifyKnown(t *testing.T, peer, target, version string) peerRow {
	t.Helper()
	w, err := newWantedPeer(peer, version, true)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "peer")
	b, err := f.buildPeer(t.Context(), dir, w.peer, w.version)
	if err != nil {
		t.Fatal(err)
	}
	row, err := f.verifyTarget(t.Context(), dir, b, target)
	if err != nil {
		t.Fatal(err)
	}
	if *peersAll && row.Verdict == verdictPassed && row.Machine == machineBubble && row.Executed < f.checks {
		rest := *f
		rest.checks, rest.time, rest.seed = f.checks-row.Executed, time.Hour, f.seed+knownChecks
		more, err := rest.verifyTarget(t.Context(), dir, b, target)
		if err != nil {
			t.Fatal(err)
		}
		more.Executed, more.Runs, more.Seconds = more.Executed+row.Executed, more.Runs+row.Runs, more.Seconds+row.Seconds
		more.Found, more.Known = more.Found+row.Seconds, more.Known+row.Known
		return more
	}
	return row
}

// A round that did not report what it did is no pass.
func TestPeerRoundsAreNotTakenOnTrust(t *testing.T) {
	message := func(result props.Result) peerMessage { return peerMessage{"x", &result} }
	whole := []peerMessage{message(props.Result{}), message(props.Result{}), message(props.Result{}), message(props.Result{Known: 3})}
	for _, c := range []struct {
		name       string
		messages   []peerMessage
		instrument bool
		ok         bool
		executed   int
		not        string
	}{
		{"nothing", nil, false, false, 0, ""},
		{"names alone", []peerMessage{{Target: "x"}, {Target: "x"}, {Target: "x"}, {Target: "x"}}, false, false, 0, ""},
		{"too few", whole[1:], false, false, 0, ", what 3 runs would have done that ended at what is known"},
		{"all", whole, false, true, 500, ", what 3 runs would have done that ended at what is known"},
		{"not instrumented", whole[:3:3], true, false, 0, ", steps of the pool itself"},
		{"instrumented", append(whole[:3:3], message(props.Result{Instrumented: true})), true, true, 500, ""},
		{"a finding", []peerMessage{message(props.Result{Broken: &props.Broken{Rule: "I5"}})}, false, true, 0, ""},
	} {
		var row peerRow
		if err := row.take(c.messages, 500, c.instrument); (err == nil) != c.ok || row.Executed != c.executed || row.notChecked() != c.not {
			t.Errorf("%s: got %d executed, error %v, not checked %q; want %d, ok %t, %q",
				c.name, row.Executed, err, row.notChecked(), c.executed, c.ok, c.not)
		}
	}
}
