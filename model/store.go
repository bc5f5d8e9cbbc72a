package model

// store keeps keys in the order in which they were added, each once.
type store struct {
	words int
	keys  []uint64 // words for each
	came  []uint32 // the number of the state from which each was first reached
	table []uint32 // open addressing: number plus 1
	mask  uint64
	n     int
}

func newStore(words int) *store {
	const size = 1 << 12
	return &store{words: words, table: make([]uint32, size), mask: size - 1}
}

// hash scatters a key.
func (t *store) hash(k *key) uint64 {
	h := k[0]
	for i := 1; i < t.words; i++ {
		h = blur(h) ^ k[i]
	}
	return mix(h)
}

// add returns the number of k, and whether it is new. from is where it came from.
func (t *store) add(k *key, from int) (n int, isNew bool) {
	i := t.hash(k) & t.mask
	for ; t.table[i] != 0; i = (i + 1) & t.mask {
		if n := int(t.table[i]) - 1; t.is(n, k) {
			return n, false
		}
	}
	t.table[i] = uint32(t.n) + 1
	t.keys = append(t.keys, k[:t.words]...)
	t.came = append(t.came, uint32(from))
	t.n++
	if t.n*8 > len(t.table)*5 {
		t.grow()
	}
	return t.n - 1, true
}

// find returns the number of k, or -1.
func (t *store) find(k *key) int {
	for i := t.hash(k) & t.mask; t.table[i] != 0; i = (i + 1) & t.mask {
		if n := int(t.table[i]) - 1; t.is(n, k) {
			return n
		}
	}
	return -1
}

func (t *store) is(n int, k *key) bool {
	kept := t.keys[n*t.words : (n+1)*t.words]
	for i, w := range kept {
		if k[i] != w {
			return false
		}
	}
	return true
}

// at returns the key numbered n.
func (t *store) at(n int) (k key) {
	copy(k[:], t.keys[n*t.words:(n+1)*t.words])
	return k
}

func (t *store) grow() {
	t.table = make([]uint32, 2*len(t.table))
	t.mask = uint64(len(t.table)) - 1
	for n := range t.n {
		k := t.at(n)
		i := t.hash(&k) & t.mask
		for ; t.table[i] != 0; i = (i + 1) & t.mask {
		}
		t.table[i] = uint32(n) + 1
	}
}

// bytes is the memory in use.
func (t *store) bytes() int { return 8*cap(t.keys) + 4*cap(t.came) + 4*len(t.table) }
