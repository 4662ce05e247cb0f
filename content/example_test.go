package content_test

import (
	"fmt"
	"log"

	"sealpost/content"
)

const (
	alice = "mimi://chat.example/u/alice"
	bob   = "mimi://chat.example/u/bob"
	room  = "mimi://chat.example/r/lunch"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Alice writes; Bob reads.
func Example_text() {
	message, err := content.NewText("Lunch at noon?")
	check(err)
	data, err := message.Marshal() // goes into an MLS application message
	check(err)

	received, err := content.Parse(data)
	check(err)
	view := received.View()
	fmt.Printf("%v: %s\n", view.Kind, view.Text)
	// Output: text: Lunch at noon?
}

// Bob answers a message of Alice, whose id both of them compute.
func Example_reply() {
	question, err := content.NewText("Lunch at noon?")
	check(err)
	id, err := question.ID(alice, room)
	check(err)

	answer, err := content.Reply(id, "Make it one.")
	check(err)
	fmt.Println(answer.Kind(), answer.InReplyTo == id)

	// He sees that he made a mistake.
	answerID, err := answer.ID(bob, room)
	check(err)
	better, err := content.Edit(answerID, "Make it two.", content.WithReplyTo(id))
	check(err)
	fmt.Println(better.Kind(), better.Replaces == answerID, better.View().Text)
	// Output:
	// reply true
	// edit true Make it two.
}
