package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/props"
)

// verified runs verify --json and returns what it printed, and the exit code.
func verified(t *testing.T, args ...string) (*verification, int) {
	t.Helper()
	cmd, temp := poolproof(t, append([]string{"verify", "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	tempFilesLeft(t, temp)
	if len(out) == 0 {
		t.Fatalf("nothing was printed: %v; %s", err, &stderr)
	}
	return parseVerification(t, out), cmd.ProcessState.ExitCode()
}

// The rows are what a layer plans: a subtest that is added to one alone fails here.
func TestEveryLayerRunsWhatItPlans(t *testing.T) {
	layers := []string{layerMemory, layerWire, layerGo}
	kinds := map[string]string{layerMemory: kindMemory, layerWire: kindWire, layerGo: kindProcess, layerPython: kindProcess}
	if _, err := exec.LookPath("python3"); err == nil || os.Getenv("CI") == "true" {
		layers = append(layers, layerPython)
	}
	got, code := verified(t, "--checks", "50", "--process-checks", "2", "--seed", "13", "--layer", strings.Join(layers, ","))
	if code != exitPassed || !got.Passed || got.Seed != 13 || len(got.Failures) > 0 || len(got.Notes) > 0 {
		t.Errorf("exit code %d, got %+v; want 0, and passed with seed 13", code, got)
	}
	rows := got.Rows
	for _, layer := range layers {
		spec := layerSpec{Kind: kinds[layer]}
		asked := 50
		if spec.Kind == kindProcess {
			asked = 2
		}
		for _, s := range spec.subtests() {
			if len(rows) == 0 {
				t.Fatalf("%s %v: no row", layer, s)
			}
			r := rows[0]
			rows = rows[1:]
			if r.Layer != layer || (subtest{r.Machine, r.Subtest} != s) || r.Asked != asked || r.Executed != asked ||
				r.Operations <= 0 || r.Verdict != verdictPassed || r.Seconds <= 0 || (s.name == "Coverage") != (r.Existing > 0 && r.Reached > 0) {
				t.Errorf("got %+v, want %s %v with %d checks, operations, and passed", r, layer, s, asked)
			}
		}
	}
	if len(rows) > 0 {
		t.Errorf("rows that no layer plans: %+v", rows)
	}
}

func TestSeedRepeatsARun(t *testing.T) {
	counts := func(seed string) (operations []int) {
		got, code := verified(t, "--checks", "50", "--layer", "memory", "--seed", seed)
		if code != exitPassed {
			t.Fatalf("exit code %d: %+v", code, got)
		}
		for _, r := range got.Rows {
			if r.Subtest != "Sequential" && r.Subtest != "Coverage" {
				continue // there things happen at once, and who is first decides what comes after
			}
			operations = append(operations, r.Operations, r.Reached)
		}
		return operations
	}
	first, second, other := counts("5"), counts("5"), counts("6")
	if !slices.Equal(first, second) {
		t.Errorf("the same seed: got operations %v, then %v; want the same", first, second)
	}
	if slices.Equal(first, other) {
		t.Errorf("another seed: got operations %v again, want others", other)
	}
}

// The test binary stands in for the command elsewhere; here is the command itself.
func TestBuiltCommandVerifies(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "poolproof")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary, "verify", "--json", "--checks", "5", "--process-checks", "1", "--layer", "memory,go", "--seed", "3").Output()
	if got := parseVerification(t, out); err != nil || !got.Passed || len(got.Rows) != 14 {
		t.Errorf("got %v, passed %v, %d rows; want success and 14 rows", err, got.Passed, len(got.Rows))
	}
}

// A subtest that believes it was asked for fewer checks has not passed.
func TestRowPassesOnlyIfAllChecksWereExecuted(t *testing.T) {
	l := &layer{name: layerWire, spec: layerSpec{Kind: kindWire, Checks: 10}}
	for _, test := range []struct {
		result props.Result
		want   string
	}{
		{props.Result{Asked: 10, Executed: 10}, verdictPassed},
		{props.Result{Asked: 10, Executed: 10, Failed: true}, verdictFailed},
		{props.Result{Asked: 10, Executed: 9}, verdictIncomplete},
		{props.Result{Asked: 9, Executed: 9}, verdictIncomplete},
		{props.Result{}, verdictIncomplete},
	} {
		if got := newRow(l, &test.result); got.Verdict != test.want || got.Asked != 10 {
			t.Errorf("%+v: got %q of %d, want %q of 10", test.result, got.Verdict, got.Asked, test.want)
		}
	}
	if (&verification{}).complete() {
		t.Error("nothing executed: got complete")
	}
}

func TestJudgedHasARowForEachSubtest(t *testing.T) {
	const (
		p, f, n, i = verdictPassed, verdictFailed, verdictNotRun, verdictIncomplete

		begun = 4 // checks of the subtest that is not reported
	)
	l := &layer{name: layerGo, spec: layerSpec{Kind: kindProcess, Checks: 10}}
	planned := l.spec.subtests()
	killed := errors.New("signal: killed")
	exited := exec.Command("false").Run() // as tests that fail
	for _, test := range []struct {
		name        string
		reported    []string
		err         error
		interrupted bool
		want        []string
		failure     bool
	}{
		{"all passed", []string{p, p, p}, nil, false, []string{p, p, p}, false},
		{"never began", nil, killed, false, []string{f, n, n}, true},
		{"died amid", []string{p}, killed, false, []string{p, f, n}, true},
		{"died after a failure", []string{f}, killed, false, []string{f, f, n}, true},
		{"gave up after a failure", []string{f}, exited, false, []string{f, n, n}, true},
		{"ended well, too soon", []string{p}, nil, false, []string{p, n, n}, true},
		{"incomplete", []string{p, i, p}, nil, false, []string{p, i, p}, true},
		{"failed at the end", []string{p, p, p}, exited, false, []string{p, p, p, f}, true},
		{"interrupted", []string{p}, killed, true, []string{p, i, n}, false},
		{"interrupted after a failure", []string{f}, killed, true, []string{f, i, n}, true},
	} {
		end := layerEnd{err: test.err, begun: map[subtest]int{}}
		for k, verdict := range test.reported {
			end.rows = append(end.rows, row{Layer: l.name, Machine: planned[k].machine, Subtest: planned[k].name, Verdict: verdict})
		}
		if len(test.reported) < len(planned) {
			end.begun[planned[len(test.reported)]] = begun
		}
		rows, failure := end.judged(l, test.interrupted)
		var got []string
		for k, r := range rows {
			got = append(got, r.Verdict)
			if k == len(test.reported) && k < len(planned) && r.Executed != begun {
				t.Errorf("%s: %d checks of %s, want %d", test.name, r.Executed, r.Subtest, begun)
			}
		}
		if !slices.Equal(got, test.want) || (failure != "") != test.failure {
			t.Errorf("%s: got %q, failure %q; want %q, failure %v", test.name, got, failure, test.want, test.failure)
		}
	}
	if rows, failure := (&layerEnd{}).judged(l, true); len(rows) != 3 || rows[0].Verdict != n || failure != "" {
		t.Errorf("interrupted before: got %+v, failure %q; want three rows that are not run", rows, failure)
	}
}

func TestReportOfNothingIsJSONAllTheSame(t *testing.T) {
	out, err := json.Marshal(&verification{Rows: []row{}})
	if err != nil || !strings.Contains(string(out), `"rows":[]`) {
		t.Errorf("got %s, error %v; want rows to be a list", out, err)
	}
}

func TestHeadAndTailKeepsBoth(t *testing.T) {
	var short, long headAndTail
	for _, k := range []*headAndTail{&short, &long} {
		k.Write([]byte("first\n"))
		if k == &long {
			for range 100 {
				k.Write(bytes.Repeat([]byte("x"), keptBytes/10))
			}
		}
		k.Write([]byte("last\n"))
	}
	if got := short.String(); got != "first\nlast\n" {
		t.Errorf("short: got %q", got)
	}
	got := long.String()
	omitted := 100*(keptBytes/10) + len("first\nlast\n") - len(long.head) - len(long.tail)
	if !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, "last\n") || len(got) > 3*keptBytes || omitted != long.omitted {
		t.Errorf("long: got %d bytes, %d said to be left out; want the first and last line, and %d", len(got), long.omitted, omitted)
	}
}

func TestShellWordsReadBack(t *testing.T) {
	words := []string{"python3", "a b", "", "it's", "$HOME", "--x=1,2", "*", "a\nb"}
	out, err := exec.Command("sh", "-c", "printf '%s\\0' "+shellWords(words)).Output()
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if err != nil || !slices.Equal(got, words) {
		t.Errorf("got %q, error %v; want %q", got, err, words)
	}
}

func TestTwoDashes(t *testing.T) {
	got := twoDashes([]string{"verify", "-json", "-checks=5", "--seed", "-1", "-h", "-", "--", "-json"})
	want := []string{"verify", "--json", "--checks=5", "--seed", "-1", "-h", "-", "--", "-json"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is printed when nobody reads ends the run, and leaves nothing.
func TestBrokenPipeEndsTheRun(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	cmd, temp := poolproof(t, "verify", "--layer", "memory", "--checks", "1000000")
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != exitCannot {
		t.Errorf("got %v, want exit code %d", cmd.ProcessState, exitCannot)
	}
	tempFilesLeft(t, temp)
}

// On a terminal there are bars, and the table comes after them; on one whose size nobody
// knows there are lines.
func TestTerminalShowsBars(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("script(1) is missing")
	}
	for size, want := range map[string]string{
		"rows 5 cols 80": "30/30",
		"rows 0 cols 0":  "wire Accounting (full): passed, 30 of 30 checks",
	} {
		command, temp := poolproof(t)
		line := shellWords([]string{command.Path, "verify", "--layer", "wire", "--checks", "30", "--seed", "4"})
		cmd := exec.Command(script, "-qec", "stty "+size+"; "+line, "/dev/null")
		cmd.Env = command.Env
		out, err := cmd.Output()
		progress, table, found := strings.Cut(string(out), "layer  subtest")
		bars := strings.Contains(progress, "30/30")
		if err != nil || !found || !strings.Contains(progress, want) || bars != (want == "30/30") || !strings.Contains(table, "all passed, seed 4") {
			t.Errorf("%s: error %v; want %q, bars %v, and then the table; got:\n%s", size, err, want, want == "30/30", out)
		}
		tempFilesLeft(t, temp)
	}
}
