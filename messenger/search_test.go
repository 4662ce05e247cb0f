package messenger

import (
	"slices"
	"testing"
)

func (p *person) finds(query string, in *ConversationID) []string {
	p.t.Helper()
	found, err := p.Search(testContext(p.t), query, in, 10)
	if err != nil {
		p.t.Fatalf("searching for %q: %v", query, err)
	}
	var texts []string
	for _, m := range found {
		texts = append(texts, m.Text)
	}
	return texts
}

func TestSearch(t *testing.T) {
	p := shelf(t)
	bob, carol := p.meets("bob"), p.meets("carol")
	p.say(bob, "The naïve café in Zürich")
	p.say(carol, "a coffee, or two-and-a-half")
	p.say(bob, "cafés are closed")
	if err := p.commit(testContext(t), func(u *unit) error {
		v, err := p.findConversation(u, u, bob)
		if err != nil {
			return err
		}
		return addNotice(u, v, KindWarning, "", "a café that nobody wrote of")
	}); err != nil {
		t.Fatal(err)
	}
	both := []string{"cafés are closed", "The naïve café in Zürich"}
	for _, test := range []struct {
		query string
		in    *ConversationID
		want  []string
	}{
		{"cafe", nil, both},
		{"CAFÉ", &bob, both},
		{"c", &bob, both},
		{"c", nil, []string{"cafés are closed", "a coffee, or two-and-a-half", "The naïve café in Zürich"}},
		{"cafe", &carol, nil},
		{"naive zur", nil, both[1:]},
		{"afe", nil, nil},
		{"two-and-a", nil, []string{"a coffee, or two-and-a-half"}},
		{"two half", &carol, []string{"a coffee, or two-and-a-half"}},
		{"closed !!! ...", &bob, both[:1]},
		{"!!!", &bob, nil},
		{"!!!", nil, nil},
		{"", &bob, nil},
		{"cafe", &ConversationID{1}, nil},
	} {
		if got := p.finds(test.query, test.in); !slices.Equal(got, test.want) {
			t.Errorf("%q in %v finds %q, want %q", test.query, test.in, got, test.want)
		}
	}
}

// A request is not shown before it is accepted, and not found either.
func TestSearchPassesOverRequests(t *testing.T) {
	p := shelf(t)
	bob, carol := p.meets("bob"), p.meets("carol")
	p.say(bob, "a needle")
	for range 20 {
		p.say(carol, "many needles")
	}
	if _, err := p.store.writer.Exec("UPDATE conversations SET state = ? WHERE public_id = ?", int(Request), carol[:]); err != nil {
		t.Fatal(err)
	}
	if got := p.finds("needle", nil); !slices.Equal(got, []string{"a needle"}) {
		t.Errorf("found %q", got)
	}
	if got := p.finds("needle", &carol); got != nil {
		t.Errorf("found %q", got)
	}
}

// What was taken back is not in the index either, not even as a word.
func TestDeletedWordsLeaveTheIndex(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	id := p.say(in, "verysecretword stays nowhere")
	p.say(in, "something else")
	if err := p.Unsend(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := p.store.reader.QueryRow("SELECT count(*) FROM messages_text_data WHERE instr(block, ?) > 0", []byte("verysecretword")).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d blocks of the index hold the word, %v", left, err)
	}
}
