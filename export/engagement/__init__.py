"""How popular a post will be, from its picture and what is known of it: data, network, judgement."""
