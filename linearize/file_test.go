package linearize

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is a history with a value in every field.
func sample() *History {
	return &History{
		Head: Head{Pool: `a "pool"` + "\n\u2028é", Seed: 1<<64 - 1, Replay: "go test", Config: Config{
			Capacity: 3, Affinity: Prefer, SessionTTL: time.Second, Slack: time.Millisecond, FIFO: true, MaxWaiters: 4,
			FullOnly: true, CloseWaits: true, NoneAfter: true, Fresh: true, Ends: true,
		}},
		Ops: []Op{
			{ID: 1, Client: 1, Kind: Acquire, Outcome: Granted, Fresh: true, Ended: true, Session: "\\x", Call: 1, Return: 9, Parked: 3, Worker: 7, Token: 8, Seq: 9},
			{ID: 2, Client: 1, Kind: Release, Outcome: Done, Call: 10, Return: 11, Worker: 7, Lease: 1, Seq: 10},
			{ID: 5, Client: 2, Kind: Resize, Call: 10, Max: 3},
		},
		Changes: []Change{
			{Seq: 9, At: 5, Kind: LeaseGranted, Fresh: true, Worker: 7, Token: 8, Session: "\\x"},
			{Seq: 9, At: 6, Kind: AcquireRefused, Outcome: Cancelled},
		},
		Faults: []Fault{{Kind: "kill", From: 3, To: 4, Worker: 7, Ends: true, Text: "SIGKILL"}},
	}
}

func TestFileGivesBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"h.jsonl", "h.jsonl.gz"} {
		name = filepath.Join(t.TempDir(), name)
		if err := WriteFile(name, sample()); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := sample(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", name, got, want)
		}
	}
}

// TestReaderSaysWhereAFileIsWrong edits one piece of a good file at a time.
func TestReaderSaysWhereAFileIsWrong(t *testing.T) {
	t.Parallel()
	var good bytes.Buffer
	if err := Write(&good, sample()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"history":1`, `"history":2`, `line 1: field "history": version 2, want 1`},
		{`"history":1,`, ``, `line 1: field "history": missing`},
		{`"prefer"`, `"preferred"`, `line 1: field "affinity": "preferred" is none of`},
		{`"capacity":3`, `"capacity":3.5`, `line 1: field "capacity": column`},
		{`"fifo":true`, `"fifo":1`, `line 1: field "fifo": want true or false, got 1`},
		{`"do":"acquire"`, `"do":"aquire"`, `line 2: field "do": "aquire" is none of`},
		{`"do":"acquire",`, ``, `line 2: field "do": missing`},
		{`"worker":7`, `"worker":-7`, `line 2: field "worker": want a number that is not negative, got -7`},
		{`"worker":7`, `"worker":"7"`, `line 2: field "worker": want a number that is not negative, got "7"`},
		{`"worker":7`, `"worker":77777777777777777777`, `line 2: field "worker": column`},
		{`"worker":7`, `"laborer":7`, `line 2: field "laborer": unknown here`},
		{`"op":2`, `"op":1`, `line 3: field "op": 1 after 1: want them in order`},
		{`"call":10,"return":11`, `"call":0,"return":11`, `line 3: field "call": 0 after 1: want them in order`},
		{`"return":11`, `"return":9`, `line 3: field "return": 9 is before the call at 10`},
		{`"outcome":"done",`, ``, `line 3: field "outcome": missing, although there is a return`},
		{`"max":3`, `"max":3}`, `line 4: column`},
		{`"max":3`, `"max":3,`, `line 4: column`},
		{`"change":9`, `"change":0`, `line 5: field "change": 0 after 0: want them in order`},
		{`"kind":"granted",`, ``, `line 5: field "kind": missing`},
		{`{"fault":"kill"`, `{"faulty":"kill"`, `line 7: field "faulty": want "op", "change", "fault" or "end" first`},
		{`"to":4`, `"to":2`, `line 7: field "to": 2 is before 3`},
		{`"ops":3`, `"ops":4`, `line 8: the end says 4 ops, 2 changes, 1 faults; there are 3, 2, 1`},
		{`"faults":1}` + "\n", `"faults":1}` + "\n{}\n", `line 9: want nothing after the end`},
		{`"faults":1}` + "\n", `"faults":1}` + "\n" + strings.Repeat("x", 2*maxLine), `line 9: want nothing after the end`},
		{`"text":"SIGKILL"`, `"text":"` + strings.Repeat("x", maxLine) + `"`, `line 7: longer than 65536 bytes`},
	} {
		bad := strings.Replace(good.String(), c.from, c.to, 1)
		if bad == good.String() {
			t.Errorf("%s is not in the file", c.from)
		}
		_, err := Read(strings.NewReader(bad))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: got error %v, want one with %s", c.to, c.from, err, c.want)
		}
	}
}

func TestReaderNoticesEveryTruncation(t *testing.T) {
	t.Parallel()
	var good bytes.Buffer
	if err := Write(&good, sample()); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(good.String(), "\n")
	for n := range len(lines) - 1 {
		if _, err := Read(strings.NewReader(strings.Join(lines[:n], ""))); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d lines: got error %v, want ErrTruncated", n, err)
		}
	}
	for n := range good.Len() - 1 {
		if _, err := Read(bytes.NewReader(good.Bytes()[:n])); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes of %d: got error %v, want ErrTruncated", n, good.Len(), err)
		}
	}
}

// TestReaderNoticesADamagedSum: a compressed file that can be read to its last line may still
// not be what was written.
func TestReaderNoticesADamagedSum(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "h.jsonl.gz")
	if err := WriteFile(name, sample()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(good)
	damaged[len(damaged)-8] ^= 1
	for _, c := range []struct {
		content []byte
		want    error
	}{{damaged, gzip.ErrChecksum}, {good[:len(good)-3], io.ErrUnexpectedEOF}} {
		if err := os.WriteFile(name, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(name); !errors.Is(err, c.want) {
			t.Errorf("got error %v, want %v", err, c.want)
		}
	}
}

// TestFileKeepsSessionsApart: the name of a session may be any bytes.
func TestFileKeepsSessionsApart(t *testing.T) {
	t.Parallel()
	want := sample()
	want.Ops[0].Session, want.Changes[0].Session, want.Ops[2].Session = "\xff", "\xff", "\xfe"
	var file bytes.Buffer
	if err := Write(&file, want); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(&file); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v and error %v, want %+v", got, err, want)
	}
}

func FuzzRead(f *testing.F) {
	var good bytes.Buffer
	if err := Write(&good, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, h); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		got, err := Read(&again)
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Fatalf("written and read again: got %+v and %v, want %+v", got, err, h)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	h := &History{}
	for i := range 10_000 {
		h.Ops = append(h.Ops, Op{ID: i + 1, Client: 3, Kind: Acquire, Outcome: Granted, Session: "abc", Call: time.Duration(i) * 1000, Return: time.Duration(i)*1000 + 999, Worker: 3, Token: uint64(i) + 1, Seq: uint64(i) + 1})
	}
	var file bytes.Buffer
	if err := Write(&file, h); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
