package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/faults"
)

// An interrupt amid the harm ends all, and what there is so far is printed.
func TestInterruptEndsChaos(t *testing.T) {
	cmd, temp := poolproof(t, "chaos", "--json", "--layer", "go", "--scenario", "crash-storm,crash-at-500", "--page", filepath.Join(t.TempDir(), "page.html"))
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	told, last := false, ""
	for lines := bufio.NewScanner(stderr); lines.Scan(); last = lines.Text() {
		if !told && strings.HasPrefix(lines.Text(), "crash-storm: kill of worker") {
			told = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitCannot || !told || !strings.Contains(last, "interrupted") {
		t.Errorf("got exit code %d, last line %q; want %d, interrupted", code, last, exitCannot)
	}
	var got chaosReport
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, &stdout)
	}
	if len(got.Rows) != 2 || got.Passed || got.Rows[0].Verdict != verdictIncomplete || got.Rows[0].Landed == 0 || got.Rows[1].Verdict != verdictNotRun {
		t.Errorf("got %+v; want one row that is incomplete, with faults that landed, and one that is not run", got.Rows)
	}
	if left := relatives(filepath.Join(temp, "mark")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	tempFilesLeft(t, temp)
}

// On a terminal a bar tells how the run goes.
func TestTerminalShowsChaos(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("script(1) is missing")
	}
	command, temp := poolproof(t)
	line := shellWords([]string{command.Path, "chaos", "--layer", "memory", "--scenario", "worker-crash", "--scale", "0.15", "--seed", "4"})
	cmd := exec.Command(script, "-qec", "stty rows 5 cols 120; "+line, "/dev/null")
	cmd.Env = command.Env
	out, err := cmd.Output()
	progress, table, found := strings.Cut(string(out), "scenario      verdict")
	if err != nil || !found || !strings.Contains(progress, "% ok, ") || !strings.Contains(progress, " of 5 ready, ") || !strings.Contains(table, "all passed, seed 4") {
		t.Errorf("error %v; want how it goes, and then the table; got:\n%s", err, out)
	}
	tempFilesLeft(t, temp)
}

// Whatever is not passed fails the command.
func TestChaosIsCompleteOnlyIfAllPassed(t *testing.T) {
	for _, test := range []struct {
		verdicts []string
		want     bool
		summary  string
	}{
		{[]string{verdictPassed, verdictPassed}, true, "all passed"},
		{[]string{verdictPassed, verdictNotRun}, false, "NOT COMPLETE"},
		{[]string{verdictIncomplete, verdictFailed}, false, "FAILED"},
		{nil, false, "NOT COMPLETE"},
	} {
		var c chaosReport
		for _, v := range test.verdicts {
			c.Rows = append(c.Rows, chaosRow{Verdict: v})
		}
		c.Passed = c.complete()
		if c.Passed != test.want || c.summary() != test.summary {
			t.Errorf("%q: got %v, %q; want %v, %q", test.verdicts, c.Passed, c.summary(), test.want, test.summary)
		}
	}
}

// A row counts a fault that was never injected as planned and not landed.
func TestChaosRowCountsWhatDidNotLand(t *testing.T) {
	var row chaosRow
	row.fill(&faults.Report{
		Planned: 3, Strikes: 2, Findings: []string{"one did not land"}, FirstSuccess: -1,
		Faults: []*faults.FaultReport{
			{Kind: "kill", Landed: time.Second, Detected: 1500 * time.Millisecond},
			{Kind: "kill", Error: "it did not land"},
		},
	}, false)
	if row.Planned != 3 || row.Landed != 1 || row.Verdict != verdictFailed || row.First != nil || row.Detect == nil || *row.Detect != 0.5 {
		t.Errorf("got %+v; want 1 of 3 landed, failed, no first success, detected after half a second", row)
	}
}

// A scenario that workers cannot go through is told so beforehand, and why.
func TestScenariosSayWhatTheyNeed(t *testing.T) {
	own := &chaosWorkers{name: layerCommand, layer: faults.Process, methods: []string{"generate"}}
	demo := &chaosWorkers{name: layerPython, layer: faults.Process}
	wire := &chaosWorkers{name: layerWire, layer: faults.Wire}
	for _, test := range []struct {
		workers *chaosWorkers
		kind    string
		want    string // part of the reason
	}{
		{own, "kill", ""},
		{demo, "kill", ""},
		{wire, "kill", "layer wire"},
		{wire, "burst", ""},
		{demo, "no-such", "no injector"},
	} {
		if got := test.workers.unfit(test.kind); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s on %s: got %q, want %q", test.kind, test.workers.name, got, test.want)
		}
	}
	for _, s := range faults.Scenarios() {
		if c := scenarioCase(s); c.name != s.Name || c.about == "" {
			t.Errorf("got %q, %q", c.name, c.about)
		}
	}
}
