package network

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/faults"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = time.Minute     // for what only has to happen
	deadline = 3 * time.Second // of a request
	grace    = 5 * time.Second // beyond it, for a client that has to wait for a processor
	clients  = 8
)

// textserver runs the example service, with Python workers, and returns its address.
func textserver(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	binary := filepath.Join(t.TempDir(), "textserver")
	build := exec.Command("go", "build", "-o", binary, "./examples/textserver")
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-workers", "2", "-wait", "1m", "-call", "1m", "-start", "1m")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "ready on http://"); ok {
			kill.Stop()
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				rest, _ := io.ReadAll(stderr)
				if err := cmd.Wait(); err != nil {
					t.Errorf("the service ends with %v: %s", err, rest)
				}
			})
			return url
		}
	}
	t.Fatalf("the service does not become ready: %v", cmd.Wait())
	return ""
}

// client has a conversation with the service. It objects to what cannot be.
type client struct {
	http         *http.Client
	url          string
	turn         int  // the last that was answered
	unsure       bool // the next one may have been taken
	instance     string
	good, broken int // requests that were answered as asked, and whose connections broke
	objections   []string
}

func newClient(addr string, i int) *client {
	return &client{
		url: fmt.Sprintf("http://%s/conversations/c%d/messages", addr, i),
		// Every other client opens a connection for each request, and closes it.
		http: &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}},
	}
}

func (c *client) object(format string, args ...any) {
	c.objections = append(c.objections, fmt.Sprintf(format, args...))
}

// say adds a message to the conversation. The error is that of the connection.
func (c *client) say() error {
	body := fmt.Sprintf(`{"text": "Where is my parcel?", "turn": %d}`, c.turn+1)
	begin := time.Now()
	reply, err := c.http.Post(c.url, "application/json", strings.NewReader(body))
	var text []byte
	if err == nil {
		text, err = io.ReadAll(reply.Body)
		reply.Body.Close()
	}
	if took := time.Since(begin); took > deadline+grace {
		c.object("a request took %v, whose deadline is %v", took, deadline)
	}
	if err != nil {
		c.broken++
		c.unsure = true
		return err
	}
	var got struct {
		Turn     int
		Instance string
		Error    struct{ Code, Allowed string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		c.object("status %d with %q", reply.StatusCode, text)
		return nil
	}
	switch allowed, _ := strconv.Atoi(got.Error.Allowed); {
	case reply.StatusCode == http.StatusOK && got.Turn == c.turn+1 && (c.instance == "" || got.Instance == c.instance):
		c.good++
		c.instance = got.Instance
	case got.Error.Code == "wrong_turn" && c.unsure && allowed == c.turn+2:
		// The one before was taken, and its answer did not come.
	default:
		c.object("turn %d of %q: status %d with %s", c.turn+1, c.instance, reply.StatusCode, text)
		return nil
	}
	c.turn, c.unsure = c.turn+1, false
	return nil
}

// talkWhile has all clients talk until do has returned.
func talkWhile(all []*client, do func()) {
	over := make(chan struct{})
	var talks sync.WaitGroup
	for _, c := range all {
		talks.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					_ = c.say()
				}
			}
		})
	}
	do()
	close(over)
	talks.Wait()
}

// calm has each client talk a little, which must work.
func calm(t *testing.T, all []*client, when string) {
	t.Helper()
	for i, c := range all {
		c.http.CloseIdleConnections() // may be dead without having said so
		for range 3 {
			if err := c.say(); err != nil {
				t.Errorf("%s: client %d: %v", when, i, err)
			}
		}
		for _, o := range c.objections {
			t.Errorf("%s: client %d: %s", when, i, o)
		}
		c.objections = nil
	}
}

// The connections of the example service are harmed in each way, while clients keep count
// of their conversations.
func TestServiceBehindABadNetwork(t *testing.T) {
	proxy, err := Open(textserver(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all []*client
	for i := range clients {
		c := newClient(proxy.Addr(), i)
		defer c.http.CloseIdleConnections()
		all = append(all, c)
	}
	calm(t, all, "before")
	for _, options := range []faults.Options{
		{"latency": "200ms", "jitter": "50ms"},
		{"latency": "100ms", "way": "in"},
		{"reset": "0s"},
		{"cut": "both"},
		{"cut": "out"},
		{"cut": "in"},
		{"slow-close": "300ms"},
		{"limit": "100"},
	} {
		broken := 0
		for _, c := range all {
			broken -= c.broken
		}
		talkWhile(all, func() {
			injury, err := proxy.Injector().Inject(t.Context(), &faults.Victim{Options: options})
			if err != nil {
				t.Error(err)
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			evidence, err := injury.Landed(ctx)
			if err != nil {
				t.Errorf("%v did not land: %v", options, err)
			}
			if err := injury.Heal(ctx); err != nil {
				t.Errorf("%v was not healed: %v", options, err)
			}
			t.Logf("%v: %s", options, evidence)
		})
		for _, c := range all {
			broken += c.broken
		}
		t.Logf("%v: %d requests got no answer", options, broken)
		calm(t, all, "after "+options.String())
	}
	for i, c := range all {
		t.Logf("client %d: turn %d, %d answers, %d broken connections", i, c.turn, c.good, c.broken)
	}
}

// A fault that nobody meets has not landed, and the message says what was not seen.
func TestFaultThatNobodyMeetsDoesNotLand(t *testing.T) {
	proxy, err := Open("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for options, want := range map[string]string{
		"latency": "no byte that took 100ms was seen", "reset": "no connection that was reset",
		"cut": "no byte that was held", "slow-close": "no connection that took 100ms", "limit": "no connection that was closed after 100 bytes",
	} {
		value := map[string]string{"cut": "both", "limit": "100"}[options]
		if value == "" {
			value = "100ms"
		}
		injury, err := proxy.Injector().Inject(t.Context(), &faults.Victim{Options: faults.Options{options: value}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*silence)
		evidence, err := injury.Landed(ctx)
		cancel()
		if evidence != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v; want that %s", options, evidence, err, want)
		}
		if err := injury.Heal(t.Context()); err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// Options that make no fault are refused, with what is allowed.
func TestOptions(t *testing.T) {
	for _, test := range []struct {
		options faults.Options
		want    string
	}{
		{nil, "name 0 faults"},
		{faults.Options{"latency": "1s", "cut": "in"}, "name 2 faults (cut, latency)"},
		{faults.Options{"loss": "1%"}, "option loss is unknown"},
		{faults.Options{"latency": "10ms", "jitter": "10ms"}, "the first must be more"},
		{faults.Options{"latency": "soon"}, "want a duration"},
		{faults.Options{"cut": "down"}, `option cut is "down"; want out, in or both`},
		{faults.Options{"limit": "0"}, "want at least 1"},
		{faults.Options{"slow-close": "0s"}, "want at least 1ms"},
	} {
		if _, err := parse(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.options, err, test.want)
		}
	}
}
