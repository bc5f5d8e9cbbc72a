package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// maxDepth bounds how deep arrays and objects may be nested, as encoding/json does.
const maxDepth = 10000

// Valid reports whether text is one JSON value in UTF-8, perhaps with spaces around it.
// It allocates nothing.
func Valid(text []byte) bool {
	s := scanner{text: text}
	s.space()
	return utf8.Valid(text) && s.value(0) && s.end()
}

// scanner walks over a JSON text. Its methods report whether the text is right so far and
// leave pos behind what they have read.
type scanner struct {
	text []byte
	pos  int
}

// peek returns the next byte, or 0 at the end; no JSON text needs a zero byte.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) take(want byte) bool {
	if s.peek() != want {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// end skips spaces and reports whether nothing follows.
func (s *scanner) end() bool {
	s.space()
	return s.pos == len(s.text)
}

// value skips a value, which must begin at once.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '"':
		return s.string()
	case c == '{' || c == '[':
		return depth < maxDepth && s.compound(c, depth+1)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.number()
}

func (s *scanner) word(w string) bool {
	if len(s.text)-s.pos < len(w) || string(s.text[s.pos:s.pos+len(w)]) != w {
		return false
	}
	s.pos += len(w)
	return true
}

// compound skips an object or an array, whichever open begins.
func (s *scanner) compound(open byte, depth int) bool {
	s.pos++
	s.space()
	if s.take(open + 2) { // '}' and ']' stand two behind '{' and '['
		return true
	}
	for {
		if open == '{' && !s.key() {
			return false
		}
		if !s.value(depth) {
			return false
		}
		s.space()
		if s.take(open + 2) {
			return true
		}
		if !s.take(',') {
			return false
		}
		s.space()
	}
}

// key skips a member's name and what lies between it and its value.
func (s *scanner) key() bool {
	if s.peek() != '"' || !s.string() {
		return false
	}
	s.space()
	if !s.take(':') {
		return false
	}
	s.space()
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// string skips a string from its opening quote on, eight bytes at a time where nothing in
// them needs a closer look.
func (s *scanner) string() bool {
	text, i := s.text, s.pos+1
	for {
		for i+8 <= len(text) {
			x := binary.LittleEndian.Uint64(text[i:])
			quote, slash := x^(ones*'"'), x^(ones*'\\')
			low := (x - ones*' ') &^ x
			if (low|(quote-ones)&^quote|(slash-ones)&^slash)&highs != 0 {
				break
			}
			i += 8
		}
		if i >= len(text) {
			return false
		}
		switch c := text[i]; {
		case c == '"':
			s.pos = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			n := escape(text[i:])
			if n == 0 {
				return false
			}
			i += n
		default:
			i++
		}
	}
}

// escape returns the length of the escape sequence at the beginning of text, or 0.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.pos++
	}
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return true
}

// digits skips digits, of which there must be one.
func (s *scanner) digits() bool {
	begin := s.pos
	for digit(s.peek()) {
		s.pos++
	}
	return s.pos > begin
}
