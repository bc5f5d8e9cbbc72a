package goid

import (
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGetIsWhatTheRuntimePrints(t *testing.T) {
	if supported && offset == 0 {
		t.Fatal("the goroutine's number was not found in its descriptor")
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if want, _ := Parse(header()); Get() != want || want == 0 {
				t.Errorf("Get() = %d, want %d", Get(), want)
			}
		})
	}
	wg.Wait()
}

func TestBubble(t *testing.T) {
	if got := Bubble(); got != 0 {
		t.Errorf("outside: Bubble() = %d, want 0", got)
	}
	synctest.Test(t, func(t *testing.T) {
		root := Bubble()
		if root == 0 {
			t.Error("inside: Bubble() = 0, want a number")
		}
		done := make(chan int64)
		go func() { done <- Bubble() }()
		if got := <-done; got != root {
			t.Errorf("a goroutine of the bubble: Bubble() = %d, want %d", got, root)
		}
	})
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		header     string
		id, bubble int64
	}{
		{"goroutine 7 [running]:\nmain.main()", 7, 0},
		{"goroutine 8 [running, synctest bubble 3]:\n", 8, 3},
		{"goroutine 9 [chan receive, synctest bubble 4, locked to thread]:\n", 9, 4},
		{"goroutine x [running]:\n", 0, 0},
		{"", 0, 0},
	} {
		if id, bubble := Parse([]byte(c.header)); id != c.id || bubble != c.bubble {
			t.Errorf("Parse(%q) = %d, %d; want %d, %d", c.header, id, bubble, c.id, c.bubble)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for b.Loop() {
		Get()
	}
}

func TestParentIsWhatTheRuntimePrints(t *testing.T) {
	if supported && offsetOfParent == 0 {
		t.Fatal("the parent's number was not found in the descriptor")
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			me := Get()
			child := make(chan int64, 2)
			go func() { child <- Parent(); child <- ParseParent(stack()) }()
			if got, printed := <-child, <-child; got != me || printed != me {
				t.Errorf("Parent() = %d, the stack says %d, want %d", got, printed, me)
			}
		})
	}
	wg.Wait()
}
