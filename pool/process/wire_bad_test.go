package process_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// badInput is what a worker sends in place of its reply to request 2, and what the caller
// must hear of it.
var badInput = map[string]struct {
	bytes string
	want  error
	says  string // in the error's text
}{
	"length above the limit":      {"\x01\x00\x00\x01{", process.ErrFrameTooLarge, "16777217 bytes announced"},
	"negative length":             {"\x80\x00\x00\x00{", process.ErrFrameTooLarge, "2147483648 bytes announced"},
	"length of minus one":         {"\xff\xff\xff\xff", process.ErrFrameTooLarge, "4294967295 bytes announced"},
	"printed text":                {"Traceback (most recent call last):\n", process.ErrFrameTooLarge, "announced"},
	"header cut off":              {"\x00\x00\x00", io.ErrUnexpectedEOF, "header ended after 3 of 4"},
	"body cut off":                {"\x00\x00\x00\x0a{\"json", io.ErrUnexpectedEOF, "body ended after 6 of 10"},
	"binary body cut off":         {"\x00\x00\x40\x00\x00\x00\x00\x05{}", io.ErrUnexpectedEOF, "of 16384"},
	"zero bytes":                  {strings.Repeat("\x00", 64), process.ErrProtocol, "not a JSON text"},
	"frame of zero bytes":         {framed(strings.Repeat("\x00", 64)), process.ErrProtocol, "not a JSON text"},
	"large frame of zero bytes":   {framed(strings.Repeat("\x00", 64<<10)), process.ErrProtocol, "not a JSON text"},
	"not UTF-8":                   {framed("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"\xff\xfe\"}"), process.ErrProtocol, "UTF-8"},
	"UTF-16":                      {framed("{\x00}\x00"), process.ErrProtocol, "UTF-8"},
	"overlong UTF-8":              {framed("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"\xc0\xaf\"}"), process.ErrProtocol, "UTF-8"},
	"half a surrogate in UTF-8":   {framed("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"\xed\xa0\x80\"}"), process.ErrProtocol, "UTF-8"},
	"byte order mark":             {framed("\xef\xbb\xbf" + `{"jsonrpc":"2.0","id":2,"result":1}`), process.ErrProtocol, "not a JSON text"},
	"wrong id":                    {framed(`{"jsonrpc":"2.0","id":3,"result":1}`), process.ErrProtocol, "id 3, want 2"},
	"absent id":                   {framed(`{"jsonrpc":"2.0","result":1}`), process.ErrProtocol, "id 0, want 2"},
	"null id":                     {framed(`{"jsonrpc":"2.0","id":null,"result":1}`), process.ErrProtocol, "id 0, want 2"},
	"negative id":                 {framed(`{"jsonrpc":"2.0","id":-2,"result":1}`), process.ErrProtocol, "positive integer"},
	"fraction as id":              {framed(`{"jsonrpc":"2.0","id":2.5,"result":1}`), process.ErrProtocol, "positive integer"},
	"huge id":                     {framed(`{"jsonrpc":"2.0","id":18446744073709551618,"result":1}`), process.ErrProtocol, "positive integer"},
	"id twice":                    {framed(`{"jsonrpc":"2.0","id":2,"id":2,"result":1}`), process.ErrProtocol, `"id" comes twice`},
	"result twice":                {framed(`{"jsonrpc":"2.0","id":2,"result":1,"result":2}`), process.ErrProtocol, `"result" comes twice`},
	"error that is none":          {framed(`{"jsonrpc":"2.0","id":2,"error":"no"}`), process.ErrProtocol, "malformed error"},
	"error with a code in text":   {framed(`{"jsonrpc":"2.0","id":2,"error":{"code":"1","message":""}}`), process.ErrProtocol, "malformed error"},
	"another version of JSON-RPC": {framed(`{"jsonrpc":"1.0","id":2,"result":1}`), process.ErrProtocol, "2.0"},
	"binary header too long":      {framed("\x00\x00\x00\xff{}"), process.ErrProtocol, "header of 255 bytes in a body of 6"},
	"large header too long":       {framed("\x00\xff\xff\xff" + strings.Repeat("x", 10_000)), process.ErrProtocol, "header of 16777215 bytes"},
	"binary form without room":    {framed("\x00\x00"), process.ErrProtocol, "binary form of 2 bytes"},
	"binary header is no JSON":    {framed("\x00\x00\x00\x02{{payload"), process.ErrProtocol, "not a JSON text"},
	"notification with payload":   {framed("\x00\x00\x00\x1e" + `{"jsonrpc":"2.0","method":"x"}` + "payload"), process.ErrProtocol, "with a payload"},
	"request":                     {framed(`{"jsonrpc":"2.0","id":2,"method":"echo"}`), process.ErrProtocol, "sent a request"},
	"progress that is none":       {framed(`{"jsonrpc":"2.0","method":"progress","params":[2]}`), process.ErrProtocol, "progress"},
	"chunk that nobody asked for": {framed(`{"jsonrpc":"2.0","method":"chunk","params":{"id":2,"seq":0}}`), process.ErrProtocol, "no stream under way"},
	"shared payload without any":  {framed(`{"jsonrpc":"2.0","id":2,"result":1,"shared":[4194304,10]}`), process.ErrProtocol, "shared payload"},
	"deep nesting":                {framed(`{"jsonrpc":"2.0","id":2,"result":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`), process.ErrProtocol, "not a JSON text"},
	"batch that nobody asked for": {framed(`[{"jsonrpc":"2.0","id":2,"result":1}]`), process.ErrProtocol, "nobody asked for"},
	"end of file":                 {"", io.EOF, "EOF"},
}

func framed(body string) string {
	n := len(body)
	return string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + body
}

// Each bad input is an error that names the worker and the cause, the worker is discarded,
// and the pool serves the next caller with another one.
func TestBadInput(t *testing.T) {
	for name, test := range badInput {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := featuredConfig(`,"features":["binary","stream","batch"]`, func(s *script) {
					for s.next() {
						if s.method == "good" {
							s.result(`"good"`)
							continue
						}
						s.Write([]byte(test.bytes))
						s.Close()
					}
				})
				p, err := openPool(t, cfg, pool.Config[*process.Worker]{MaxSize: 1})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				client := process.NewClient(p, process.ClientConfig{})
				by, err := client.Call(t.Context(), "", "bad", nil, nil)
				var broken *process.BrokenError
				if !errors.Is(err, process.ErrBroken) || !errors.Is(err, test.want) || !errors.As(err, &broken) || broken.Worker != by.Worker {
					t.Errorf("worker %d: got %v, want *BrokenError because of %v", by.Worker, err, test.want)
				}
				if says := fmt.Sprint(err); !strings.Contains(says, fmt.Sprintf("worker %d ", by.Worker)) || !strings.Contains(says, test.says) {
					t.Errorf("the error says %q, want the worker and %q", says, test.says)
				}
				var answer string
				next, err := client.Call(t.Context(), "", "good", nil, &answer)
				if err != nil || answer != "good" || next.Worker == by.Worker {
					t.Errorf("next call: got %q from worker %d, error %v; want it from another than %d", answer, next.Worker, err, by.Worker)
				}
			})
		})
	}
}

func TestNotificationBeforeHelloIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := process.Start(t.Context(), silentConfig(func(s *script) { s.note("log", `{"level":"info","message":"early"}`) }), 7)
		if !errors.Is(err, process.ErrProtocol) || !strings.Contains(err.Error(), "worker 7") || !strings.Contains(err.Error(), "before hello") {
			t.Errorf("got %v, want ErrProtocol of worker 7, before hello", err)
		}
	})
}

func TestUnknownMethodKeepsTheWorker(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		for _, method := range []string{"absent", "", "\x00", "größe", `"\`, strings.Repeat("x", 10_000), "rpc.discover"} {
			err := w.Call(t.Context(), method, nil, nil)
			var remote *process.RemoteError
			if !errors.As(err, &remote) || remote.Worker != 1 || !strings.Contains(err.Error(), "worker 1") || !w.Usable() {
				t.Errorf("%.20q: got %v, usable %v; want an error reply of worker 1", method, err, w.Usable())
			}
		}
	})
}
