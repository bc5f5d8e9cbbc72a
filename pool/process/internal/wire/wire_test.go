package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// texts are JSON and near misses of it.
var texts = []string{
	`null`, `true`, `false`, ` [ ] `, `{}`, `0`, `-0`, `-1.5e+10`, `1E5`, `"x"`, `"a\u00e9\n\"\\\/"`, `[1,[2,{"a":[]}]]`,
	`{"a":1,"b":{"c":"d"}}`, `"12345678901234567"`, `"1234567\"8"`, "\t{\r\n} ",
	``, ` `, `nul`, `truex`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `"`, `"\x"`, `"\u12g4"`, `"\u12`, `"\`, "\"\n\"", "\"\x1f1234567\"",
	`[1,]`, `[,1]`, `[1 2]`, `[`, `]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{1:2}`, `{`, `[}`, `{]`, `1 2`, "\"\xff\"", "\xef\xbb\xbf1", "\x00", "1\x00",
	strings.Repeat("[", 100) + strings.Repeat("]", 100), strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
}

func TestValidAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range texts {
		checkValid(t, []byte(text))
	}
	if allocs := testing.AllocsPerRun(10, func() { Valid([]byte(`{"a":[1,2,"three",{"b":null}]}`)) }); allocs != 0 {
		t.Errorf("Valid allocates %v times, want 0", allocs)
	}
}

// checkValid compares Valid with two independent judges.
func checkValid(t *testing.T, text []byte) {
	t.Helper()
	if got, want := Valid(text), json.Valid(text) && utf8.Valid(text); got != want {
		t.Errorf("Valid(%.80q) is %v, want %v", text, got, want)
	}
}

func TestParse(t *testing.T) {
	var m Message
	text := `{"id":7, "jsonrpc":"2.0","x":{"id":8},"method":"e\u0063ho","params":[1],"shared":[0,5],"stream":{"window":2}}`
	if err := m.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%d %s %s %s %s", m.ID, m.Method, m.Params, m.Shared, m.Stream); got != `7 echo [1] [0,5] {"window":2}` {
		t.Errorf("got %s", got)
	}
	if err := m.Parse([]byte(`{"jsonrpc":"2.0","id":null,"error":null,"result":null}`)); err != nil || m.ID != 0 || m.Error != nil || string(m.Result) != "null" {
		t.Errorf("got %+v, error %v", m, err)
	}
	for _, bad := range []string{
		`{}`, `[]`, `5`, `{"jsonrpc":2.0}`, `{"jsonrpc":"2.0","id":0}`, `{"jsonrpc":"2.0","id":-1}`, `{"jsonrpc":"2.0","id":1.5}`,
		`{"jsonrpc":"2.0","id":"1"}`, `{"jsonrpc":"2.0","id":1,"id":1}`, `{"jsonrpc":"2.0","id":9999999999999999999}`,
		`{"jsonrpc":"2.0","method":""}`, `{"jsonrpc":"2.0","method":5}`, `{"jsonrpc":"2.0","method":"a","method":"a"}`,
		`{"jsonrpc":"2.0","result":1,"result":1}`, `{"jsonrpc":"2.0","method":"a","result":1}`, `{"jsonrpc":"2.0","method":"a","error":{}}`,
		`{"jsonrpc":"2.0"} x`, "{\"jsonrpc\":\"2.0\",\"x\":\"\xff\"}", `{"jsonrpc":"2.0","jsonrpc":"2.0"}`,
	} {
		if err := m.Parse([]byte(bad)); err == nil {
			t.Errorf("Parse(%q) gives %+v, want an error", bad, m)
		}
	}
	body := []byte(`{"jsonrpc":"2.0","id":12,"result":{"text":"hello"}}`)
	if allocs := testing.AllocsPerRun(10, func() { m.Parse(body) }); allocs != 0 {
		t.Errorf("Parse allocates %v times, want 0", allocs)
	}
}

func TestRange(t *testing.T) {
	for _, test := range []struct {
		text          string
		offset, bytes int
	}{{`[50,50]`, 50, 50}, {`[100,0]`, 100, 0}, {`[ 60 , 1 ]`, 60, 1}} {
		offset, bytes, err := Range([]byte(test.text), 50, 100)
		if err != nil || offset != test.offset || bytes != test.bytes {
			t.Errorf("Range(%s) is %d bytes at %d, error %v", test.text, bytes, offset, err)
		}
	}
	for _, bad := range []string{
		`[49,1]`, `[0,0]`, `[50,51]`, `[100,1]`, `[101,0]`, `[-1,5]`, `[50,-1]`, `[50]`, `[50,1,1]`, `[]`, `{}`, `50`, `null`, `[5e1,1]`, `["50",1]`,
		`[18446744073709551615,1]`, `[50,18446744073709551615]`, `[9223372036854775807,9223372036854775807]`, `[50,1]x`, ``,
	} {
		if offset, bytes, err := Range([]byte(bad), 50, 100); err == nil {
			t.Errorf("Range(%s) is %d bytes at %d, want an error", bad, bytes, offset)
		}
	}
}

func TestSplit(t *testing.T) {
	prefix := func(n int) string { b := make([]byte, PrefixBytes); PutPrefix(b, n); return string(b) }
	for _, test := range []struct {
		body, text, payload string
		binary, bad         bool
	}{
		{body: `{}`, text: `{}`},
		{body: ``},
		{body: prefix(2) + `{}abc`, text: `{}`, payload: "abc", binary: true},
		{body: prefix(2) + `{}`, text: `{}`, binary: true},
		{body: prefix(0), binary: true},
		{body: prefix(3) + `{}`, bad: true},
		{body: "\x00\xff\xff\xff{}", bad: true},
		{body: "\x00\x00\x00", bad: true},
		{body: "\x00", bad: true},
	} {
		text, payload, err := Split([]byte(test.body))
		if (err != nil) != test.bad || string(text) != test.text || string(payload) != test.payload || (payload != nil) != test.binary {
			t.Errorf("Split(%q) is %q and %q, error %v", test.body, text, payload, err)
		}
	}
}

func TestCopyToMemoryThatIsNotThere(t *testing.T) {
	to := make([]byte, 3)
	if err := Copy(to, []byte("abc")); err != nil || string(to) != "abc" {
		t.Errorf("got %q, error %v", to, err)
	}
	if err := Copy(to, unbacked(t)); err == nil {
		t.Error("copying from pages that are not there gave no error")
	}
}

func FuzzValid(f *testing.F) {
	for _, text := range texts {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(checkValid)
}

// FuzzParse checks the parser against encoding/json: what it accepts is an object whose
// members, taken by name, say the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"method":"echo","params":{"text":"hi"}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"result":null,"shared":[4096,10]}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"m"}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"chunk","params":{"id":7,"seq":0,"value":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Message
		err := m.Parse(text)
		if isText := json.Valid(text) && utf8.Valid(text); errors.Is(err, ErrNoText) && isText || err == nil && !isText {
			t.Fatalf("got %v, valid JSON %v", err, isText)
		}
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		var id uint64
		var method string
		if raw, ok := members["id"]; ok {
			if err := json.Unmarshal(raw, &id); err != nil {
				t.Fatalf("id %s: %v", raw, err)
			}
		}
		if raw, ok := members["method"]; ok {
			if err := json.Unmarshal(raw, &method); err != nil {
				t.Fatalf("method %s: %v", raw, err)
			}
		}
		if id != m.ID || method != string(m.Method) {
			t.Fatalf("got %d and %q, want %d and %q", m.ID, m.Method, id, method)
		}
		for name, got := range map[string][]byte{"params": m.Params, "result": m.Result, "shared": m.Shared, "stream": m.Stream} {
			if want := members[name]; !bytes.Equal(got, want) {
				t.Fatalf("%s is %q, want %q", name, got, want)
			}
		}
		var note Note
		if note.Parse(m.Params) == nil && note.Value != nil && !json.Valid(note.Value) {
			t.Fatalf("value %q is not JSON", note.Value)
		}
	})
}

// FuzzBatch checks that a batch is taken apart into what encoding/json sees in it.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(`[{"jsonrpc":"2.0","id":1,"result":1},{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":""}}]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const limit = 4
		messages, err := Batch(text, limit, nil)
		if err != nil {
			return
		}
		var elements []json.RawMessage
		if err := json.Unmarshal(text, &elements); err != nil || len(elements) != len(messages) || len(elements) > limit || !utf8.Valid(text) {
			t.Fatalf("%d messages of %d elements, error %v", len(messages), len(elements), err)
		}
		for i, element := range elements {
			var m Message
			if err := m.Parse(element); err != nil || m.ID != messages[i].ID || !bytes.Equal(m.Result, messages[i].Result) {
				t.Fatalf("message %d is %+v, alone %+v, error %v", i, messages[i], m, err)
			}
		}
	})
}

// FuzzRange checks that no range is accepted that is not within the half.
func FuzzRange(f *testing.F) {
	f.Add([]byte(`[4096,100]`), 4096, 8192)
	f.Add([]byte(`[4096,18446744073709551615]`), 4096, 8192)
	f.Fuzz(func(t *testing.T, text []byte, from, to int) {
		if from < 0 || to < from {
			return
		}
		offset, bytes, err := Range(text, from, to)
		if err != nil {
			return
		}
		var pair [2]int
		if json.Unmarshal(text, &pair) != nil || pair != [2]int{offset, bytes} || offset < from || bytes < 0 || offset+bytes > to || offset+bytes < offset {
			t.Fatalf("%q is %d bytes at %d, within %d to %d", text, bytes, offset, from, to)
		}
	})
}

// FuzzSplit checks that a body is taken apart into what it was put together from.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}payload"))
	f.Add([]byte("\x00\x00\x00\x09{}"))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		text, payload, err := Split(body)
		switch {
		case err != nil:
			if len(body) == 0 || body[0] != 0 {
				t.Fatalf("plain body: %v", err)
			}
		case payload == nil:
			if !bytes.Equal(text, body) {
				t.Fatalf("plain body %q became %q", body, text)
			}
		default:
			whole := make([]byte, PrefixBytes)
			PutPrefix(whole, len(text))
			if whole = append(append(whole, text...), payload...); !bytes.Equal(whole, body) {
				t.Fatalf("%q was taken apart into %q", body, whole)
			}
		}
	})
}
