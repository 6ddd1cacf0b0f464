extends Node

var session = preload("res://gi_client_godot3.gd").new("http://127.0.0.1:8000", {"seed": 1})


func _ready():
	session.connect("status", self, "_on_status")
	add_child(session)
	session.open()


func _process(_delta):
	session.send_image(get_viewport().get_texture().get_data())
	var state = session.due()
	if state != null:
		session.press(state)


func _on_status(kind, words):
	print("gi %s: %s" % [kind, words])
