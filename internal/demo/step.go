package demo

// A Step is one numbered step of the story, as it is printed and as --json
// gives it.
type Step struct {
	Number int    `json:"step"`
	Title  string `json:"title"`
	// Flow says what travels, from whom to whom; nil where nothing does.
	Flow *Flow `json:"flow,omitempty"`
	// Told is what to know to read the facts.
	Told  string `json:"told"`
	Facts []Fact `json:"facts"`
}

// Flow is an arrow between two neighbours.
type Flow struct {
	From  Party  `json:"from"`
	To    Party  `json:"to"`
	Label string `json:"label"`
}

// A Party is one of the three, or of those that some attacks need.
type Party string

// The parties, from left to right.
const (
	Alice Party = "Alice"
	Relay Party = "relay"
	Bob   Party = "Bob"
)

// Those who stand beside.
const (
	Carol   Party = "Carol"
	Mallory Party = "Mallory"
)

// A Fact is something that the run showed. Value is whole in JSON; the terminal
// shows the beginning of long ones.
type Fact struct {
	Who   Party  `json:"who"`
	Name  string `json:"name"`
	Value string `json:"value"`
	// Hex says that Value is bytes in hexadecimal.
	Hex  bool   `json:"hex,omitempty"`
	Note string `json:"note,omitempty"`
	// Verdict is "yes" or "no" where the fact is an answer to Name.
	Verdict string `json:"verdict,omitempty"`
}
