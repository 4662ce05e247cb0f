package interop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	randomSteps = 200
	maxMembers  = 8

	// slowSteps is for the classical suites on P-521 and P-384, whose signatures take ts-mls many
	// milliseconds each.
	slowSteps = 40
)

// seedVariable fixes the seed of TestRandom; a failure prints the one to repeat.
const seedVariable = "INTEROP_SEED"

func seed(t *testing.T) uint64 {
	t.Helper()
	value := os.Getenv(seedVariable)
	if value == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		t.Fatalf("reading %s: %v", seedVariable, err)
	}
	return n
}

// TestRandom plays random lives of a group of members of both sides. The seed decides
// who does what; keys are fresh each time.
func TestRandom(t *testing.T) {
	seed := seed(t)
	for _, s := range hpkeSuites {
		t.Run(fmt.Sprintf("suite %#04x", s.suite), func(t *testing.T) {
			t.Parallel()
			p := startPeer(t)
			t.Logf("%s=%d", seedVariable, seed)
			r := rand.New(rand.NewPCG(seed, uint64(s.suite)))
			c := newConversation(t, p, s.suite, pick(r, kinds))
			life := &randomLife{conversation: c, r: r}
			steps := randomSteps
			if s.suite == 0x0005 || s.suite == 0x0007 {
				steps = slowSteps
			}
			for step := range steps {
				life.step(step)
			}
			c.talk()
			t.Logf("steps taken: %v", life.taken)
		})
	}
}

type randomLife struct {
	*conversation
	r       *rand.Rand
	letters []letter // not yet read
	taken   map[string]int
}

// lettersKept is how many epochs a letter may stay unread; ts-mls keeps four.
const lettersKept = 3

func (l *randomLife) step(n int) {
	l.t.Helper()
	steps := []struct {
		name   string
		weight int
		take   func()
	}{
		{"write", 25, l.stepWrite},
		{"read", 10, l.stepRead},
		{"update", 15, l.stepUpdate},
		{"add", 12, l.stepAdd},
		{"remove", 10, l.stepRemove},
		{"propose", 13, l.stepPropose},
		{"join externally", 7, l.stepJoinExternally},
		{"race", 8, l.stepRace},
	}
	at := l.r.IntN(100)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			l.t.Logf("step %d: %s, %d members", n, s.name, len(l.members))
			if l.taken == nil {
				l.taken = make(map[string]int)
			}
			l.taken[s.name]++
			s.take()
			return
		}
	}
	l.t.Fatal("the weights do not add up to 100")
}

func (l *randomLife) flip() bool { return l.r.IntN(2) == 0 }

func (l *randomLife) anyone() *participant { return pick(l.r, l.members) }

// strangers makes up to three newcomers, as many as there is room for.
func (l *randomLife) strangers() []*participant {
	l.t.Helper()
	var all []*participant
	for range min(1+l.r.IntN(3), maxMembers-len(l.members)) {
		all = append(all, l.newcomer(pick(l.r, kinds)))
	}
	return all
}

func (l *randomLife) victims(except *participant) []*participant {
	others := l.others(except)
	l.r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return others[:min(len(others), 1+l.r.IntN(2))]
}

func (l *randomLife) manner(ch change) change {
	ch.public, ch.withTree = l.flip(), l.flip()
	return ch
}

func (l *randomLife) stepWrite() {
	l.t.Helper()
	from := l.anyone()
	for i := range 1 + l.r.IntN(3) {
		l.letters = append(l.letters, l.write(from, fmt.Sprintf("%d: %x", i, l.r.Uint64())))
	}
}

// stepRead delivers what is under way, in any order.
func (l *randomLife) stepRead() {
	l.t.Helper()
	l.r.Shuffle(len(l.letters), func(i, j int) { l.letters[i], l.letters[j] = l.letters[j], l.letters[i] })
	for _, letter := range l.letters {
		l.read(letter)
	}
	l.letters = nil
}

// age delivers what would soon be too old.
func (l *randomLife) age() {
	l.t.Helper()
	v, err := l.members[0].view()
	l.must("viewing", err)
	l.letters = slices.DeleteFunc(l.letters, func(letter letter) bool {
		if v.Epoch-letter.epoch < lettersKept {
			return false
		}
		l.read(letter)
		return true
	})
}

func (l *randomLife) stepUpdate() {
	l.t.Helper()
	l.commit(l.anyone(), l.manner(change{}))
	l.age()
}

func (l *randomLife) stepAdd() {
	l.t.Helper()
	l.commit(l.anyone(), l.manner(change{add: l.strangers()}))
	l.age()
}

func (l *randomLife) stepRemove() {
	l.t.Helper()
	by := l.anyone()
	ch := change{remove: l.victims(by)}
	if l.flip() {
		ch.add = l.strangers()
	}
	l.commit(by, l.manner(ch))
	l.age()
}

// stepPropose sends proposals by reference and commits them together with others by value.
func (l *randomLife) stepPropose() {
	l.t.Helper()
	by := l.anyone()
	for _, from := range l.members {
		if l.r.IntN(3) == 0 {
			l.propose(from, proposal{Type: "update"}, l.flip())
		}
	}
	for _, joiner := range l.strangers() {
		l.proposeAdd(l.anyone(), joiner, l.flip())
	}
	if l.flip() {
		for _, gone := range l.victims(by) {
			l.proposeRemove(l.anyone(), gone, l.flip())
		}
	}
	l.commit(by, l.manner(change{}))
	l.age()
}

func (l *randomLife) stepJoinExternally() {
	l.t.Helper()
	if len(l.members) == maxMembers {
		l.stepUpdate()
		return
	}
	l.joinExternally(l.anyone(), l.newcomer(pick(l.r, kinds)), l.flip())
	l.age()
}

// stepRace has two members commit in one epoch; the Delivery Service takes one.
func (l *randomLife) stepRace() {
	l.t.Helper()
	winner := l.anyone()
	others := l.others(winner)
	if len(others) == 0 {
		l.stepUpdate()
		return
	}
	loser := pick(l.r, others)
	lost := l.manner(change{})
	if l.flip() {
		lost.add = l.strangers()
	}
	l.stage(loser, lost)
	won := l.stage(winner, l.manner(change{add: l.strangers()}))
	l.deliver(won)
	l.age()
}
