package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
	"time"
)

var clientKillRounds = flag.Int("client-kill-rounds", 30, "how often both clients are killed in TestNothingIsLostWhenClientsAreKilled")

// Alice writes and Bob reads, and both are killed with -9 at random points, many
// times over. What a send reported as taken is in Bob's history once, in order, what
// it did not report at most once, and both profiles are sound. All with the real
// program.
func TestNothingIsLostWhenClientsAreKilled(t *testing.T) {
	p := buildProgram(t)
	p.startRelay()
	p.register("alice")
	p.register("bob")
	p.accept("bob", "alice")

	var taken []string
	attempted := make(map[string]bool)
	killed := 0
	for round := range *clientKillRounds {
		reading := p.killed(nil, "inbox", "--profile", "bob", "--json")
		text := fmt.Sprintf("round %d", round)
		attempted[text] = true
		var out bytes.Buffer
		if p.killed(&out, "send", "--profile", "alice", "--json", "bob", text)() {
			killed++
		}
		if reported(out.Bytes()) {
			taken = append(taken, text)
		}
		reading()
	}
	if !p.send("alice", "bob", "the end") {
		t.Fatal("the last message was not taken")
	}
	attempted["the end"], taken = true, append(taken, "the end")

	var got []string
	for range 20 {
		p.inbox("bob")
		if got = p.history("bob", "alice"); slices.Contains(got, "the end") {
			break
		}
	}
	seen := make(map[string]int)
	for _, text := range got {
		seen[text]++
		if seen[text] > 1 || !attempted[text] {
			t.Errorf("Bob has %q %d times", text, seen[text])
		}
	}
	arrived := slices.DeleteFunc(slices.Clone(got), func(text string) bool { return !slices.Contains(taken, text) })
	if !slices.Equal(arrived, taken) {
		t.Errorf("Bob has %d of the texts that were taken, want %d:\n got %q\nwant %q", len(arrived), len(taken), arrived, taken)
	}
	for _, name := range []string{"alice", "bob"} {
		if out, err := p.command("doctor", "--profile", name).CombinedOutput(); err != nil {
			t.Errorf("%s is not sound: %v\n%s", name, err, out)
		}
	}
	t.Logf("%d of %d sends were killed, %d taken, %d arrived", killed, *clientKillRounds, len(taken), len(got))
	if killed == 0 || len(taken) < 2 {
		t.Errorf("%d sends were killed and %d taken: nothing was tried", killed, len(taken))
	}
}

// killed starts the program, to be killed within a quarter of a second. What it
// returns waits for the end, and says whether that came by force.
func (p *program) killed(out *bytes.Buffer, args ...string) (wait func() bool) {
	p.t.Helper()
	cmd := p.command(args...)
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(250))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	return func() bool {
		err := cmd.Wait()
		timer.Stop()
		exit, failed := err.(*exec.ExitError) //nolint:errorlint // Wait returns it bare
		return failed && exit.ExitCode() == -1
	}
}

// reported says whether a send wrote that it took the message.
func reported(out []byte) bool {
	var outcome struct {
		ID string `json:"id"`
	}
	return json.Unmarshal(out, &outcome) == nil && outcome.ID != ""
}

// history returns the texts of a conversation, as they are exported.
func (p *program) history(profile, with string) []string {
	p.t.Helper()
	out, err := p.command("export", "--profile", profile, "--format", "jsonl", with).Output()
	if err != nil {
		p.t.Fatalf("exporting: %v", err)
	}
	var texts []string
	for line := range bytes.Lines(out) {
		var row struct{ Kind, Text string }
		if err := json.Unmarshal(line, &row); err != nil {
			p.t.Fatalf("line %q: %v", line, err)
		}
		if row.Kind == "text" {
			texts = append(texts, row.Text)
		}
	}
	return texts
}
