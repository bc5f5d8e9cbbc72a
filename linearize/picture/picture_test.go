package picture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

// drawn returns the page of a history, and the scene that it holds.
func drawn(t *testing.T, h *linearize.History, v *linearize.Verdict) (string, *scene) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, h, v); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(b.String(), `<script type="application/json" id="scene">`)
	data, _, found := strings.Cut(rest, "</script>")
	if !found {
		t.Fatal("the page has no scene")
	}
	var got scene
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatalf("the scene is no JSON: %v", err)
	}
	return b.String(), &got
}

// laneNamed returns a lane of a scene.
func laneNamed(t *testing.T, sc *scene, name string) *lane {
	t.Helper()
	i := slices.IndexFunc(sc.Lanes, func(l lane) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("there is no lane %q", name)
	}
	return &sc.Lanes[i]
}

func TestTwoLeasesOfAWorkerLieSideBySide(t *testing.T) {
	t.Parallel()
	h := &linearize.History{Ops: []linearize.Op{
		{ID: 1, Client: 1, Kind: linearize.Acquire, Outcome: linearize.Granted, Call: 10, Return: 20, Worker: 1, Session: "a"},
		{ID: 2, Client: 2, Kind: linearize.Acquire, Outcome: linearize.Granted, Call: 30, Return: 40, Worker: 1},
		{ID: 3, Client: 1, Kind: linearize.Release, Outcome: linearize.Done, Call: 50, Return: 60, Worker: 1, Lease: 1},
		{ID: 4, Client: 2, Kind: linearize.Release, Call: 55, Worker: 1, Lease: 2},
		{ID: 5, Client: 3, Kind: linearize.Acquire, Outcome: linearize.Granted, Call: 60, Return: 70, Worker: 2},
	}}
	page, sc := drawn(t, h, &linearize.Verdict{Result: linearize.Illegal, Rule: "I1", Ops: []int{2, 1}, Text: "two at once"})
	want := []item{
		{What: "lease", Of: 0, From: 10, To: 60, Sure: []int64{20, 50}},
		{What: "lease", Of: 1, From: 30, To: 55, Sure: []int64{40, 55}, Open: true, Row: 1}, // its release has no answer
	}
	if got := laneNamed(t, sc, "worker 1"); !reflect.DeepEqual(got.Items, want) || got.Rows != 2 || !got.Main {
		t.Errorf("worker 1: got %+v, want a main lane with %+v in 2 rows", got, want)
	}
	want = []item{{What: "lease", Of: 4, From: 60, To: 70, Sure: []int64{70}, Open: true}} // never given back
	if got := laneNamed(t, sc, "worker 2"); !reflect.DeepEqual(got.Items, want) || got.Main {
		t.Errorf("worker 2: got %+v, want a lane beside the matter with %+v", got, want)
	}
	if got := laneNamed(t, sc, `session "a"`); len(got.Items) != 1 || got.Items[0].Of != 0 || !got.Main {
		t.Errorf("session a: got %+v, want a main lane with the lease of op 1", got)
	}
	if sc.Calls[0].Mark != 1 || sc.Calls[1].Mark != 2 || sc.Calls[2].Mark != 0 || sc.Calls[0].FreedBy != 3 {
		t.Errorf("calls: got %+v, want 1 and 2 marked in order of time, and 1 freed by 3", sc.Calls)
	}
	if !reflect.DeepEqual(sc.Marks, []int64{10, 40}) {
		t.Errorf("marked time: got %v, want 10 to 40", sc.Marks)
	}
	for _, text := range []string{"illegal", "I1", RuleText("I1"), "two at once", "10 ns to 20 ns"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
}

// TestTextOfAHistoryStaysText puts markup wherever a history has text.
func TestTextOfAHistoryStaysText(t *testing.T) {
	t.Parallel()
	evil := `</script><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}" onclick="x` + "\u2028"
	h := &linearize.History{
		Head:    linearize.Head{Pool: evil, Replay: evil},
		Ops:     []linearize.Op{{ID: 1, Client: 1, Kind: linearize.Acquire, Outcome: linearize.Granted, Worker: 1<<64 - 1, Session: evil}},
		Changes: []linearize.Change{{Seq: 1, Kind: linearize.SessionEnded, Session: evil}},
		Faults:  []linearize.Fault{{Kind: evil, Text: evil}},
	}
	v := &linearize.Verdict{Result: linearize.Illegal, Rule: evil, Text: evil, Judge: evil, Ops: []int{1}, Changes: []uint64{1}}
	page, sc := drawn(t, h, v)
	for _, bad := range []string{"<script>alert", "<img", `" onclick="x`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s as markup", bad)
		}
	}
	if got := sc.Calls[0].Session; got != evil {
		t.Errorf("session: got %q, want %q", got, evil)
	}
	if !strings.Contains(page, `"worker":"18446744073709551615"`) {
		t.Error("a number that JavaScript would round is not kept as text")
	}
}

func (n *number) UnmarshalJSON(b []byte) error {
	_, err := fmt.Sscan(strings.Trim(string(b), `"`), (*uint64)(n))
	return err
}

// TestALargeHistoryIsCutAroundTheFault also holds the page to a size.
func TestALargeHistoryIsCutAroundTheFault(t *testing.T) {
	t.Parallel()
	h := run(64, 16, 100_000, 1)
	v := doubled(h)
	page, sc := drawn(t, h, v)
	if len(sc.Calls) != maxCalls {
		t.Errorf("got %d calls, want %d", len(sc.Calls), maxCalls)
	}
	if !strings.Contains(page, "this page holds 4,000 of 100,000 calls, those nearest to what is marked") {
		t.Error("the page does not say what it leaves out")
	}
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes, want at most 2 MiB", len(page))
	}
	held := map[int]bool{}
	for _, c := range sc.Calls {
		held[c.ID] = true
	}
	first, last := v.Ops[0], v.Ops[1]
	for id := first - 500; id <= last+500; id++ {
		if !held[id] {
			t.Fatalf("op %d is cut, although it is close to ops %d and %d", id, first, last)
		}
	}
	marked := 0
	for _, c := range sc.Calls {
		if c.Mark > 0 {
			marked++
		}
	}
	if marked != 2 {
		t.Errorf("got %d marked calls, want 2", marked)
	}
}

// TestWhatIsRelatedIsKeptFromFarAway has a bound session lose its worker long after.
func TestWhatIsRelatedIsKeptFromFarAway(t *testing.T) {
	t.Parallel()
	h := run(64, 16, 50_000, 2)
	h.Ops[25_000].Session = "alone"
	_, sc := drawn(t, h, &linearize.Verdict{Result: linearize.Illegal, Rule: "I8", Ops: []int{100, 25_001, 49_000}})
	for _, id := range []int{100, 25_001, 49_000} {
		if !slices.ContainsFunc(sc.Calls, func(c call) bool { return c.ID == id && c.Mark > 0 }) {
			t.Errorf("op %d is cut or not marked", id)
		}
	}
}

func TestDrawsWhatIsEmptyOrUnknown(t *testing.T) {
	t.Parallel()
	for _, h := range []*linearize.History{{}, run(3, 2, 20, 3)} {
		page, sc := drawn(t, h, &linearize.Verdict{Text: "no steps are left"})
		if !strings.Contains(page, "unknown") || !strings.Contains(page, "no steps are left") || len(sc.Calls) != len(h.Ops) {
			t.Errorf("a history of %d calls: got %d calls and %s", len(h.Ops), len(sc.Calls), page)
		}
		for _, l := range sc.Lanes {
			if !l.Main {
				t.Errorf("%s is no main lane, although nothing is marked", l.Name)
			}
		}
	}
}

func TestRowsNeverOverlap(t *testing.T) {
	t.Parallel()
	h := run(12, 5, 2000, 4)
	_, sc := drawn(t, h, &linearize.Verdict{Result: linearize.Ok})
	for _, l := range sc.Lanes {
		ends := map[int]int64{}
		for _, i := range l.Items {
			from, to := i.extent()
			if i.What == "hold" || i.What == "change" || i.Row == maxRows-1 {
				continue
			}
			if end, ok := ends[i.Row]; ok && from < end {
				t.Errorf("%s: row %d: an item from %d begins before the one that ends at %d", l.Name, i.Row, from, end)
			}
			ends[i.Row] = to
		}
	}
}

func TestBesideWritesForFailuresOnly(t *testing.T) {
	t.Parallel()
	h := run(2, 1, 5, 5)
	file := filepath.Join(t.TempDir(), "a.b.jsonl.gz")
	page := strings.TrimSuffix(file, ".jsonl.gz") + ".html"
	for _, c := range []struct {
		result linearize.Result
		want   []string
	}{
		{linearize.Ok, nil},
		{linearize.Illegal, []string{page}}, // porcupine would let it pass
		{linearize.Unknown, []string{page}},
	} {
		names, err := Beside(file, h, &linearize.Verdict{Result: c.result})
		if err != nil || !slices.Equal(names, c.want) {
			t.Errorf("%v: got %q and error %v, want %q", c.result, names, err, c.want)
		}
		if c.want == nil {
			continue
		}
		if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), c.result.String()) {
			t.Errorf("%v: got a page of %d bytes and error %v", c.result, len(text), err)
		}
	}
	if _, err := Beside(filepath.Join(t.TempDir(), "missing", "h.jsonl"), h, &linearize.Verdict{}); err == nil {
		t.Error("a page in a folder that is not there: got no error")
	}
}

// TestPorcupinesPageIsLinked saves the pages of histories that porcupine refuses too.
func TestPorcupinesPageIsLinked(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/histories/bad/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d bad histories and error %v", len(files), err)
	}
	linked := 0
	for _, file := range files {
		h, err := linearize.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := linearize.Judge(t.Context(), h, linearize.Budget{})
		name := filepath.Join(t.TempDir(), "page.html")
		names, err := Save(name, h, &v)
		if err != nil || len(names) == 0 || names[0] != name {
			t.Fatalf("%s: got %q and error %v, want %s first", file, names, err, name)
		}
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(page), `href="./page.porcupine.html"`) != (len(names) == 2) {
			t.Errorf("%s: %q are written, which the links do not say", file, names)
		}
		linked += len(names) - 1
	}
	if linked == 0 {
		t.Error("no history has a page of porcupine's")
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1000: "1 µs", 20_715: "20.715 µs", 1_000_001: "1.000001 ms", 61 * time.Second: "61 s",
		1_500_000_000: "1.5 s", 12_345_678_901: "12.345678901 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", int64(d), got, want)
		}
	}
}
