#include "gi_client.hpp"  // beside this file; add bEnableExceptions = true to your Build.cs

#include "UnrealPlayer.h"  // UCLASS UUnrealPlayer : public UActorComponent, with the members used below

void UUnrealPlayer::BeginPlay() {
  Super::BeginPlay();
  gi::Options Options;
  Options.on_status = [](const std::string& Kind, const std::string& Words) {
    UE_LOG(LogTemp, Display, TEXT("gi %s: %s"), UTF8_TO_TCHAR(Kind.c_str()), UTF8_TO_TCHAR(Words.c_str()));
  };
  Session = MakeUnique<gi::Session>("http://127.0.0.1:8000", Options);
  try {
    Session->Open();
  } catch (const gi::Error& Error) {
    UE_LOG(LogTemp, Error, TEXT("gi: %s"), UTF8_TO_TCHAR(Error.what()));
    Session.Reset();
  }
}

void UUnrealPlayer::TickComponent(float DeltaTime, ELevelTick TickType, FActorComponentTickFunction* Function) {
  Super::TickComponent(DeltaTime, TickType, Function);
  if (!Session) return;
  FTextureRenderTargetResource* Target = RenderTarget->GameThread_GetRenderTargetResource();  // of a USceneCaptureComponent2D
  TArray<FColor> Pixels;
  if (Target->ReadPixels(Pixels)) {
    Session->Send(reinterpret_cast<const uint8*>(Pixels.GetData()), Target->GetSizeX(), Target->GetSizeY(), gi::Pixels::kBgra);
  }
  gi::State State;
  if (Session->Due(State)) Hold(State);
}

void UUnrealPlayer::EndPlay(const EEndPlayReason::Type Reason) {
  Session.Reset();
  Hold(gi::State());
  Super::EndPlay(Reason);
}

void UUnrealPlayer::Hold(const gi::State& State) {
  APlayerController* Player = GetWorld()->GetFirstPlayerController();
  static const std::pair<const char*, FKey> Keys[] = {{"KeyW", EKeys::W}, {"KeyA", EKeys::A}, {"KeyS", EKeys::S}, {"KeyD", EKeys::D},
      {"Space", EKeys::SpaceBar}, {"ShiftLeft", EKeys::LeftShift}, {"KeyE", EKeys::E}, {"KeyR", EKeys::R}};  // what your game binds
  for (const auto& [Name, Key] : Keys) Press(Player, Key, Held.Has(Name), State.Has(Name));
  Press(Player, EKeys::LeftMouseButton, Held.buttons & gi::kLeft, State.buttons & gi::kLeft);
  Press(Player, EKeys::RightMouseButton, Held.buttons & gi::kRight, State.buttons & gi::kRight);
  if (State.motion_x != 0) Player->InputKey(FInputKeyParams(EKeys::MouseX, State.motion_x, 1.0f / 60, 1));
  if (State.motion_y != 0) Player->InputKey(FInputKeyParams(EKeys::MouseY, -State.motion_y, 1.0f / 60, 1));  // up is positive there
  Held = State;
}

void UUnrealPlayer::Press(APlayerController* Player, const FKey& Key, bool WasHeld, bool IsHeld) {
  if (WasHeld != IsHeld) Player->InputKey(FInputKeyParams(Key, IsHeld ? IE_Pressed : IE_Released, IsHeld ? 1.0 : 0.0));
}
